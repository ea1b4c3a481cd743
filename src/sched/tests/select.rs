//! The choice of a CPU.

use super::*;
use crate::arch::NR_CPUS;
use crate::sched::select::select_cpu;

fn mask() -> impl Strategy<Value = CpuMask> {
    prop::collection::vec(any::<bool>(), NR_CPUS).prop_map(|bits| {
        let cpus = bits.iter().enumerate().filter(|&(_, &bit)| bit);
        cpus.map(|(n, _)| cpu(n)).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 8 } else { 1024 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn keeps_to_the_affinity_and_finds_who_is_idle(
        last in 0..NR_CPUS, allowed in mask(), idle in mask(),
    ) {
        let last = cpu(last);
        let chosen = select_cpu(last, allowed, idle);
        let both = allowed.and(idle);
        if allowed.is_empty() {
            prop_assert_eq!(chosen, last);
        } else if both.is_empty() {
            prop_assert!(allowed.contains(chosen));
            prop_assert!(!allowed.contains(last) || chosen == last);
        } else {
            prop_assert!(both.contains(chosen));
            prop_assert!(!both.contains(last) || chosen == last);
            let far = |cpu: CpuId| cpu.index() ^ last.index();
            prop_assert!(both.iter().all(|other| far(other) >= far(chosen)));
        }
    }
}
