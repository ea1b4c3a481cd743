use super::StaticKey;
use super::static_branch_unlikely;
use crate::arch::hosted::Machine;
use crate::machine_local;

machine_local! {
    static KEY: StaticKey = StaticKey::new();
}

fn on_a_machine(f: impl FnOnce()) {
    let ram = crate::addr::PhysRange::from_size(crate::addr::PhysAddr::new(0), 4 << 20);
    Machine::run(&[ram], |_| f());
}

#[test]
fn a_key_is_on_while_it_has_users() {
    on_a_machine(|| {
        let asked = || static_branch_unlikely!(KEY);
        assert!(!asked());
        KEY.inc();
        KEY.inc();
        assert!(asked());
        KEY.dec();
        assert!(asked());
        KEY.dec();
        assert!(!asked());
    });
}

#[test]
#[should_panic(expected = "nobody has it on")]
fn a_key_that_is_off_is_not_switched_off() {
    on_a_machine(|| KEY.dec());
}
