//! Whether the nodes of the cluster can hold the replicas that the keyspace asks for, and confirm writes as configured.

use std::collections::{BTreeMap, BTreeSet};

use super::super::settings::Consistency;
use crate::flow::health::{Condition, Part};

/// A node as the driver knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) datacenter: String,
    pub(super) rack: String,
    /// Whether the driver has a connection to it.
    pub(super) is_up: bool,
}

/// How a keyspace is replicated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Placement {
    /// So many replicas, wherever the nodes are.
    Simple(usize),
    /// So many in each data centre.
    ByDatacenter(BTreeMap<String, usize>),
    /// By a strategy that is not known here.
    Other(String),
}

/// What is asked of the cluster.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wish<'a> {
    pub(super) keyspace: &'a str,
    pub(super) consistency: Consistency,
    /// The key in the config that asks for it.
    pub(super) setting: &'a str,
    /// `store.cassandra.local_dc` and `rack`.
    pub(super) datacenter: Option<&'a str>,
    pub(super) rack: Option<&'a str>,
}

// === impl Placement ===

impl Placement {
    /// Reads the `replication` map of a keyspace.
    pub(super) fn of(replication: &BTreeMap<String, String>) -> Self {
        let class = replication.get("class").map(String::as_str).unwrap_or_default();
        // Transient replicas are written "3/1"; they take no part in what a write waits for beyond the first number.
        let number = |text: &String| text.split('/').next().and_then(|count| count.parse().ok()).unwrap_or(0);
        match class.rsplit('.').next().unwrap_or_default() {
            "SimpleStrategy" => Self::Simple(replication.get("replication_factor").map_or(0, number)),
            "NetworkTopologyStrategy" => {
                let counts = replication.iter().filter(|(name, _)| *name != "class");
                Self::ByDatacenter(counts.map(|(name, count)| (name.clone(), number(count))).collect())
            }
            other => Self::Other(other.to_owned()),
        }
    }
}

/// Everything that is wrong with where the nodes are.
pub(super) fn of_cluster(wish: Wish<'_>, members: &[Member]) -> Vec<Condition> {
    let (datacenters, names) = datacenters(members);
    location(wish, members, &datacenters, &names).into_iter().collect()
}

/// Everything that is wrong with the replicas of a keyspace.
pub(super) fn of_keyspace(wish: Wish<'_>, placement: &Placement, members: &[Member]) -> Vec<Condition> {
    let mut found = Vec::new();
    let (datacenters, names) = datacenters(members);
    match placement {
        Placement::Simple(factor) => {
            if datacenters.len() > 1 {
                let detail = format!(
                    "keyspace {} has SimpleStrategy in a cluster of several data centres ({names}): replicas are where \
                     chance puts them; ALTER KEYSPACE to NetworkTopologyStrategy, then repair",
                    wish.keyspace
                );
                found.push(Condition::degraded(Part::Store, "simple_strategy", wish.keyspace, detail));
            }
            found.extend(coverage(wish, "the cluster", *factor, members, needed(wish.consistency, *factor)));
        }
        Placement::ByDatacenter(factors) => found.extend(by_datacenter(wish, factors, members, &datacenters, &names)),
        Placement::Other(_) => {}
    }
    found
}

/// The data centres of these nodes, and their names as one text.
fn datacenters(members: &[Member]) -> (BTreeSet<&str>, String) {
    let datacenters: BTreeSet<&str> = members.iter().map(|member| member.datacenter.as_str()).collect();
    let names = datacenters.iter().copied().collect::<Vec<_>>().join(", ");
    (datacenters, names)
}

/// Whether the configured place is there, and whether there should be one.
fn location(wish: Wish<'_>, members: &[Member], datacenters: &BTreeSet<&str>, names: &str) -> Option<Condition> {
    let Some(local) = wish.datacenter else {
        let detail = format!(
            "the cluster has several data centres ({names}) and store.cassandra.local_dc is not set: nodes of all of them \
             coordinate writes, so that \"local\" means another one each time; set it to the nearest"
        );
        return (datacenters.len() > 1).then(|| Condition::degraded(Part::Store, "no_local_dc", "", detail));
    };
    if !datacenters.contains(local) {
        return Some(Condition::failing(Part::Store, "unknown_local_dc", local, unknown_datacenter(local, names)));
    }
    let rack = wish.rack?;
    let of_here = members.iter().filter(|member| member.datacenter == local);
    let racks: BTreeSet<&str> = of_here.map(|member| member.rack.as_str()).collect();
    let detail = format!(
        "store.cassandra.rack is {rack:?}, but data centre {local} has only {}: all of its nodes are used alike",
        racks.iter().copied().collect::<Vec<_>>().join(", ")
    );
    (!racks.contains(rack)).then(|| Condition::degraded(Part::Store, "unknown_rack", rack, detail))
}

/// Why a `local_dc` cannot be used.
pub(super) fn unknown_datacenter(local: &str, names: &str) -> String {
    format!("store.cassandra.local_dc is {local:?}, but the cluster has only {names}: no node would be written to")
}

fn by_datacenter(
    wish: Wish<'_>,
    factors: &BTreeMap<String, usize>,
    members: &[Member],
    datacenters: &BTreeSet<&str>,
    names: &str,
) -> Vec<Condition> {
    let mut found = Vec::new();
    let is_local = matches!(wish.consistency, Consistency::LocalOne | Consistency::LocalQuorum);
    let total: usize = factors.values().sum();
    let mut placed = 0;
    for (datacenter, &factor) in factors.iter().filter(|(_, factor)| **factor > 0) {
        if !datacenters.contains(datacenter.as_str()) {
            let detail = format!(
                "keyspace {} has {factor} replicas in data centre {datacenter}, but the cluster has only {names}; correct \
                 the name with ALTER KEYSPACE",
                wish.keyspace
            );
            found.push(Condition::degraded(Part::Store, "unknown_dc_in_keyspace", datacenter.clone(), detail));
            continue;
        }
        let is_here = wish.datacenter.is_none_or(|local| local == datacenter);
        let there: Vec<Member> = members
            .iter()
            .filter(|member| member.datacenter == *datacenter)
            // Nodes elsewhere may be reached by those here although not by us.
            .map(|member| Member { is_up: member.is_up || !is_here, ..member.clone() })
            .collect();
        placed += factor.min(there.len());
        let counts = is_local && is_here || wish.consistency == Consistency::EachQuorum;
        let needed = if counts { needed(wish.consistency, factor) } else { 0 };
        found.extend(coverage(wish, &format!("data centre {datacenter}"), factor, &there, needed));
    }
    let local_without = match wish.datacenter {
        Some(local) => is_local && datacenters.contains(local) && factors.get(local).copied().unwrap_or(0) == 0,
        None => is_local && !datacenters.iter().any(|name| factors.get(*name).copied().unwrap_or(0) > 0),
    };
    if local_without {
        let detail = format!(
            "keyspace {} has no replicas in {}, so that no write with consistency {:?} is confirmed; ALTER KEYSPACE, or \
             set store.cassandra.local_dc to a data centre that has some",
            wish.keyspace,
            wish.datacenter.map_or("any data centre of the cluster".to_owned(), |local| format!("data centre {local}")),
            wish.consistency,
        );
        found.push(Condition::failing(Part::Store, "no_local_replicas", wish.keyspace, detail));
    }
    let everywhere = matches!(
        wish.consistency,
        Consistency::One | Consistency::Two | Consistency::Three | Consistency::Quorum | Consistency::All
    );
    let wanted = needed(wish.consistency, total);
    if everywhere && placed < wanted {
        found.push(unconfirmed(wish, "the cluster", total, placed, wanted));
    }
    found
}

/// Whether nodes can hold so many replicas, and so many of them confirm.
fn coverage(wish: Wish<'_>, place: &str, factor: usize, members: &[Member], needed: usize) -> Option<Condition> {
    let (num_nodes, num_up) = (members.len(), members.iter().filter(|member| member.is_up).count());
    if num_up < needed {
        return Some(unconfirmed(wish, place, factor, num_up, needed));
    }
    let num_down = num_nodes - num_up;
    if needed > 0 && num_nodes >= factor && num_down > factor.saturating_sub(needed) {
        let detail = format!(
            "{num_down} of {num_nodes} nodes of {place} cannot be reached: rows of some devices cannot be written with \
             consistency {:?} and {factor} replicas until they are back",
            wish.consistency
        );
        return Some(Condition::degraded(Part::Store, "nodes_unreachable", place, detail));
    }
    if num_nodes < factor {
        let detail = format!(
            "keyspace {} asks for {factor} replicas, but {place} has {num_nodes} nodes: what is on one that fails may be \
             lost; add nodes, or ALTER KEYSPACE to fewer replicas",
            wish.keyspace
        );
        return Some(Condition::degraded(Part::Store, "too_few_nodes", place, detail));
    }
    (num_down > 0).then(|| {
        let detail = format!(
            "{num_down} of {num_nodes} nodes of {place} cannot be reached: rows are still confirmed with consistency {:?}, by \
             fewer replicas than there should be; start the nodes before others fail, and repair those that were away for \
             longer than hints are kept",
            wish.consistency
        );
        Condition::degraded(Part::Store, "nodes_down", place, detail)
    })
}

fn unconfirmed(wish: Wish<'_>, place: &str, factor: usize, num_up: usize, needed: usize) -> Condition {
    let detail = format!(
        "no write is confirmed: consistency {:?} with {factor} replicas in keyspace {} needs {needed} nodes of {place}, and \
         {num_up} can be reached; start nodes, ALTER KEYSPACE to fewer replicas, or change {}",
        wish.consistency, wish.keyspace, wish.setting
    );
    Condition::failing(Part::Store, "consistency_unreachable", place, detail)
}

/// How many of so many replicas have to confirm.
pub(in super::super) fn needed(consistency: Consistency, factor: usize) -> usize {
    match consistency {
        Consistency::One | Consistency::LocalOne => 1,
        Consistency::Two => 2,
        Consistency::Three => 3,
        Consistency::Quorum | Consistency::LocalQuorum | Consistency::EachQuorum => factor / 2 + 1,
        Consistency::All => factor,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(places: &[(&str, bool)]) -> Vec<Member> {
        let member = |(datacenter, is_up): &(&str, bool)| Member {
            datacenter: (*datacenter).to_owned(),
            rack: "rack1".to_owned(),
            is_up: *is_up,
        };
        places.iter().map(member).collect()
    }

    fn wish(consistency: Consistency, datacenter: Option<&'static str>) -> Wish<'static> {
        Wish { keyspace: "ks", consistency, setting: "store.cassandra.consistency", datacenter, rack: None }
    }

    fn findings(wish: Wish<'_>, placement: &Placement, members: &[Member]) -> Vec<Condition> {
        [of_cluster(wish, members), of_keyspace(wish, placement, members)].concat()
    }

    fn placement(pairs: &[(&str, &str)]) -> Placement {
        Placement::of(&pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect())
    }

    fn codes(found: &[Condition]) -> Vec<&'static str> {
        found.iter().map(|condition| condition.code).collect()
    }

    const NTS: (&str, &str) = ("class", "org.apache.cassandra.locator.NetworkTopologyStrategy");

    #[test]
    fn test_three_replicas_on_one_node_confirm_no_quorum() {
        let one = nodes(&[("dc1", true)]);
        for three in
            [placement(&[("class", "SimpleStrategy"), ("replication_factor", "3")]), placement(&[NTS, ("dc1", "3")])]
        {
            let found = findings(wish(Consistency::LocalQuorum, None), &three, &one);
            assert_eq!(codes(&found), ["consistency_unreachable"], "{three:?}");
            assert!(found[0].detail.contains("needs 2 nodes"), "{}", found[0].detail);
            let found = findings(wish(Consistency::LocalOne, None), &three, &one);
            assert_eq!(codes(&found), ["too_few_nodes"], "{three:?}");
            let found = findings(wish(Consistency::LocalQuorum, None), &three, &nodes(&[("dc1", true); 3]));
            assert_eq!(codes(&found), [""; 0]);
        }
    }

    #[test]
    fn test_nodes_that_are_away_matter_as_soon_as_a_partition_can_lack_its_quorum() {
        let three = placement(&[NTS, ("dc1", "3")]);
        let cluster = |num_down| {
            let mut members = nodes(&[("dc1", true); 6]);
            members.iter_mut().take(num_down).for_each(|member| member.is_up = false);
            members
        };
        let code = |num_down| codes(&findings(wish(Consistency::LocalQuorum, None), &three, &cluster(num_down)));
        assert_eq!(code(0), [""; 0]);
        assert_eq!(code(1), ["nodes_down"]);
        assert_eq!(code(2), ["nodes_unreachable"]);
        assert_eq!(code(5), ["consistency_unreachable"]);
    }

    #[test]
    fn test_several_data_centres_want_a_local_one_that_exists_and_has_replicas() {
        let two = nodes(&[("east", true), ("west", true)]);
        let both = placement(&[NTS, ("east", "1"), ("west", "1")]);
        assert_eq!(codes(&findings(wish(Consistency::LocalQuorum, None), &both, &two)), ["no_local_dc"]);
        assert_eq!(codes(&findings(wish(Consistency::LocalQuorum, Some("east")), &both, &two)), [""; 0]);
        let found = findings(wish(Consistency::LocalQuorum, Some("north")), &both, &two);
        assert!(found[0].detail.contains("only east, west"), "{}", found[0].detail);
        assert_eq!(found[0].code, "unknown_local_dc");
        let east = placement(&[NTS, ("east", "1")]);
        assert_eq!(codes(&findings(wish(Consistency::LocalQuorum, Some("west")), &east, &two)), ["no_local_replicas"]);
        let elsewhere = placement(&[NTS, ("east", "1"), ("datacenter1", "1")]);
        let found = findings(wish(Consistency::LocalQuorum, Some("east")), &elsewhere, &two);
        assert_eq!(codes(&found), ["unknown_dc_in_keyspace"]);
        let simple = placement(&[("class", "SimpleStrategy"), ("replication_factor", "1")]);
        let found = findings(wish(Consistency::LocalQuorum, Some("east")), &simple, &two);
        assert_eq!(codes(&found), ["simple_strategy"]);
    }

    #[test]
    fn test_a_keyspace_for_a_data_centre_of_another_name_confirms_nothing() {
        let one = nodes(&[("datacenter1", true)]);
        let misnamed = placement(&[NTS, ("dc1", "1")]);
        for consistency in [Consistency::LocalQuorum, Consistency::One, Consistency::Quorum] {
            let found = findings(wish(consistency, None), &misnamed, &one);
            assert!(
                found.iter().any(|condition| condition.verdict == crate::flow::health::Verdict::Failing),
                "{found:?}"
            );
            assert!(codes(&found).contains(&"unknown_dc_in_keyspace"));
        }
    }

    #[test]
    fn test_a_distant_data_centre_that_we_do_not_reach_is_no_fault() {
        let members = nodes(&[("east", true), ("west", false)]);
        let both = placement(&[NTS, ("east", "1"), ("west", "1")]);
        for consistency in [Consistency::LocalQuorum, Consistency::EachQuorum] {
            assert_eq!(codes(&findings(wish(consistency, Some("east")), &both, &members)), [""; 0]);
        }
        let found = findings(wish(Consistency::LocalQuorum, Some("west")), &both, &members);
        assert_eq!(codes(&found), ["consistency_unreachable"]);
    }

    #[test]
    fn test_a_rack_that_is_not_there_is_named() {
        let wish = Wish { rack: Some("r9"), ..wish(Consistency::LocalOne, Some("dc1")) };
        let found = findings(wish, &placement(&[NTS, ("dc1", "1")]), &nodes(&[("dc1", true)]));
        assert_eq!(codes(&found), ["unknown_rack"]);
        assert!(found[0].detail.contains("only rack1"), "{}", found[0].detail);
    }
}
