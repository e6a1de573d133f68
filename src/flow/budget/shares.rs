//! How a budget of writes in flight is divided among pods.

/// Each pod's share of the budget by the partitions it holds. A pod that holds any gets at least 1, since a partition
/// that may write nothing stands still; a pod that holds none gets nothing. What is left after dividing goes to the
/// largest remainders, so the shares sum to the budget, or to the number of pods that hold partitions if that is more.
pub fn shares(budget: u32, partitions_held: &[u32]) -> Vec<u32> {
    let total: u64 = partitions_held.iter().map(|held| u64::from(*held)).sum();
    let num_holders = partitions_held.iter().filter(|held| **held > 0).count() as u32;
    if total == 0 {
        return vec![0; partitions_held.len()];
    }
    // Everyone's first one is set aside, and only the rest is divided: no share has to be taken back afterwards.
    let rest = u64::from(budget.saturating_sub(num_holders));
    let mut shares: Vec<u32> = Vec::with_capacity(partitions_held.len());
    let mut remainders: Vec<(u64, usize)> = Vec::with_capacity(partitions_held.len());
    for (pod, held) in partitions_held.iter().enumerate() {
        let product = rest * u64::from(*held);
        shares.push((product / total) as u32 + u32::from(*held > 0));
        remainders.push((product % total, pod));
    }
    let left = remainders.iter().map(|(remainder, _)| remainder).sum::<u64>() / total;
    remainders.sort_by_key(|(remainder, pod)| (std::cmp::Reverse(*remainder), *pod));
    for (_, pod) in remainders.into_iter().take(left as usize) {
        shares[pod] += 1;
    }
    shares
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn test_shares_follow_the_partitions_held() {
        let cases: [(u32, &[u32], &[u32]); 7] = [
            (100, &[1, 1], &[50, 50]),
            (100, &[3, 1], &[75, 25]),
            (10, &[1, 1, 1], &[4, 3, 3]),
            (2, &[5, 5, 5], &[1, 1, 1]),
            (0, &[1, 0], &[1, 0]),
            (64, &[0, 8], &[0, 64]),
            (64, &[0, 0], &[0, 0]),
        ];
        for (budget, held, expected) in cases {
            assert_eq!(shares(budget, held), expected, "{budget} over {held:?}");
        }
    }

    proptest! {
        #[test]
        fn test_shares_use_the_budget_and_starve_nobody(
            budget in 0u32..10_000, held in prop::collection::vec(0u32..200, 0..20)
        ) {
            let shares = shares(budget, &held);
            let num_holders = held.iter().filter(|held| **held > 0).count() as u32;
            prop_assert_eq!(shares.len(), held.len());
            if num_holders > 0 {
                prop_assert_eq!(shares.iter().sum::<u32>(), budget.max(num_holders));
            }
            for (share, held) in shares.iter().zip(&held) {
                prop_assert_eq!(*share > 0, *held > 0);
            }
        }
    }
}
