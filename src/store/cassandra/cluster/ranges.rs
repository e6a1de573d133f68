//! Whether the nodes that keep a range of the partition key are there, and enough of them for the consistency level.

use std::collections::{BTreeMap, HashSet};

use scylla::cluster::metadata::Strategy;
use scylla::cluster::{ClusterState, Node};
use scylla::frame::response::result::TableSpec;

use super::super::inspect::needed;
use super::super::settings::{CassandraSettings, Consistency};
use crate::flow::cluster::RangeCounts;

/// How a write is confirmed.
#[derive(Debug, Clone, Copy)]
struct Wish<'a> {
    consistency: Consistency,
    /// `store.cassandra.local_dc`.
    datacenter: Option<&'a str>,
}

/// A node's own id.
pub(super) type HostId = u128;

/// So many replicas by data centre. Without regard to data centres there is one, without a name.
type ByDatacenter<'a> = BTreeMap<&'a str, usize>;

/// Looks at all ranges of the keyspace's ring, given the nodes that do not answer. `None` if the keyspace is not there, or
/// its rows are placed in a way that the driver does not foretell.
pub(super) fn look(
    state: &ClusterState,
    settings: &CassandraSettings,
    silent: &HashSet<HostId>,
) -> Option<RangeCounts> {
    let keyspace = state.get_keyspace(&settings.keyspace)?;
    // Where tablets are is learnt one by one, by writing to them.
    if keyspace.tablet_based {
        return None;
    }
    let factors = factors(&keyspace.strategy)?;
    let wish = Wish { consistency: settings.consistency, datacenter: settings.datacenter.as_deref() };
    let (locator, table) = (state.replica_locator(), TableSpec::borrowed(&settings.keyspace, ""));
    let mut counts = RangeCounts::default();
    for (token, _) in locator.ring().iter() {
        let mut there = ByDatacenter::new();
        for (node, _) in locator.replicas_for_token(*token, &keyspace.strategy, None, &table) {
            if !silent.contains(&node.host_id.as_u128()) {
                *there.entry(place(node, &factors)).or_default() += 1;
            }
        }
        counts.under_replicated += u64::from(is_lacking(&factors, &there));
        counts.unwritable += u64::from(!is_writable(wish, &factors, &there));
    }
    Some(counts)
}

/// How many replicas there should be; `None` for a strategy that places them in another way.
fn factors(strategy: &Strategy) -> Option<ByDatacenter<'_>> {
    match strategy {
        Strategy::SimpleStrategy { replication_factor } => Some([("", *replication_factor)].into()),
        Strategy::NetworkTopologyStrategy { datacenter_repfactors } => {
            let factors = datacenter_repfactors.iter().filter(|(_, factor)| **factor > 0);
            Some(factors.map(|(name, factor)| (name.as_str(), *factor)).collect())
        }
        _ => None,
    }
}

fn place<'a>(node: &'a Node, factors: &ByDatacenter<'_>) -> &'a str {
    if factors.contains_key("") { "" } else { node.datacenter.as_deref().unwrap_or_default() }
}

fn is_lacking(factors: &ByDatacenter<'_>, there: &ByDatacenter<'_>) -> bool {
    factors.iter().any(|(name, factor)| there.get(name).copied().unwrap_or(0) < *factor)
}

fn is_writable(wish: Wish<'_>, factors: &ByDatacenter<'_>, there: &ByDatacenter<'_>) -> bool {
    let confirms = |name: &str| {
        let (factor, num_there) = (factors.get(name).copied().unwrap_or(0), there.get(name).copied().unwrap_or(0));
        factor > 0 && num_there >= needed(wish.consistency, factor)
    };
    match wish.consistency {
        Consistency::EachQuorum => factors.keys().all(|name| confirms(name)),
        Consistency::LocalOne | Consistency::LocalQuorum => match wish.datacenter {
            Some(local) if !factors.contains_key("") => confirms(local),
            // Nodes of all data centres are written to: "local" is wherever one is.
            _ => factors.keys().any(|name| confirms(name)),
        },
        Consistency::One | Consistency::Two | Consistency::Three | Consistency::Quorum | Consistency::All => {
            there.values().sum::<usize>() >= needed(wish.consistency, factors.values().sum())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(
        consistency: Consistency,
        datacenter: Option<&str>,
        factors: &[(&'static str, usize)],
        there: &[(&'static str, usize)],
    ) -> (bool, bool) {
        let (factors, there) = (factors.iter().copied().collect(), there.iter().copied().collect());
        (is_lacking(&factors, &there), is_writable(Wish { consistency, datacenter }, &factors, &there))
    }

    #[test]
    fn test_a_quorum_of_three_bears_the_loss_of_one() {
        use Consistency::{All, LocalOne, LocalQuorum, One, Quorum, Two};
        for (consistency, num_there, expected) in [
            (LocalQuorum, 3, (false, true)),
            (LocalQuorum, 2, (true, true)),
            (LocalQuorum, 1, (true, false)),
            (Quorum, 2, (true, true)),
            (Quorum, 1, (true, false)),
            (LocalOne, 1, (true, true)),
            (One, 1, (true, true)),
            (One, 0, (true, false)),
            (Two, 1, (true, false)),
            (All, 2, (true, false)),
        ] {
            let found = judged(consistency, Some("dc1"), &[("dc1", 3)], &[("dc1", num_there)]);
            assert_eq!(found, expected, "{consistency:?} with {num_there} of 3");
            let simple = judged(consistency, Some("dc1"), &[("", 3)], &[("", num_there)]);
            assert_eq!(simple, expected, "{consistency:?} with {num_there} of 3, wherever they are");
        }
    }

    #[test]
    fn test_what_is_local_is_counted_here_and_each_quorum_everywhere() {
        use Consistency::{EachQuorum, LocalQuorum, Quorum};
        let both = &[("east", 3), ("west", 3)];
        let west_away = &[("east", 3)];
        assert_eq!(judged(LocalQuorum, Some("east"), both, west_away), (true, true));
        assert_eq!(judged(LocalQuorum, Some("west"), both, west_away), (true, false));
        assert_eq!(judged(LocalQuorum, None, both, west_away), (true, true));
        assert_eq!(judged(EachQuorum, Some("east"), both, west_away), (true, false));
        assert_eq!(judged(Quorum, Some("east"), both, west_away), (true, false), "4 of 6 are needed");
        assert_eq!(judged(LocalQuorum, Some("north"), both, both), (false, false), "no replica there");
    }

    #[test]
    fn test_replicas_without_a_data_centre_confirm_nothing() {
        assert_eq!(judged(Consistency::LocalQuorum, None, &[], &[]), (false, false));
    }
}
