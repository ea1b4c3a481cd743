use super::*;
use std::collections::BTreeSet;
use std::format;
use std::string::{String, ToString};

/// A syndrome of the class `ec`; IL is set, as for instructions of 32 bits.
fn syndrome(ec: u64, iss: u64) -> Syndrome {
    Syndrome(ec << 26 | 1 << 25 | iss)
}

fn decoded(ec: u64, iss: u64) -> Exception {
    syndrome(ec, iss).exception()
}

fn status(code: u64) -> FaultStatus {
    match decoded(0x24, code) {
        Exception::DataAbort(Origin::Lower, abort) => abort.status,
        other => panic!("{other:?}"),
    }
}

#[test]
fn instructions_that_el0_may_not_execute() {
    assert_eq!(decoded(0x00, 0), Exception::Undefined);
    assert!(syndrome(0x00, 0).is_undefined());
    assert!(!syndrome(0x01, 0).is_undefined());
    assert_eq!(decoded(0x01, 0x1e0_0000), Exception::Wfx { event: false });
    assert_eq!(decoded(0x01, 0x1e0_0001), Exception::Wfx { event: true });
    assert_eq!(decoded(0x0e, 0), Exception::IllegalState);
    assert_eq!(decoded(0x0a, 0), Exception::Ls64);
    assert_eq!(decoded(0x27, 0), Exception::MemoryOperation);
    assert_eq!(decoded(0x2d, 0), Exception::GuardedControlStack);
}

#[test]
fn calls_with_their_numbers() {
    assert_eq!(decoded(0x15, 0), Exception::Svc(0));
    assert_eq!(decoded(0x15, 0xabcd), Exception::Svc(0xabcd));
    assert_eq!(decoded(0x16, 7), Exception::Hvc(7));
    assert_eq!(decoded(0x17, 8), Exception::Smc(8));
    assert_eq!(decoded(0x3c, 0x3ff), Exception::Brk(0x3ff));
}

#[test]
fn branches_to_places_that_are_no_targets() {
    for btype in 0..4 {
        assert_eq!(decoded(0x0d, btype), Exception::BranchTarget { btype: btype as u8 });
    }
}

#[test]
fn traps_of_floating_point_sve_sme_and_pointer_authentication() {
    assert_eq!(decoded(0x07, 0x1e0_0000), Exception::FpAccess);
    assert_eq!(decoded(0x19, 0), Exception::SveAccess);
    let reasons = [
        SmeTrap::Forbidden,
        SmeTrap::Streaming,
        SmeTrap::NotStreaming,
        SmeTrap::ZaDisabled,
        SmeTrap::Zt0,
        SmeTrap::Other,
    ];
    for (iss, reason) in reasons.into_iter().enumerate() {
        assert_eq!(decoded(0x1d, iss as u64), Exception::SmeAccess(reason));
    }
    assert_eq!(decoded(0x09, 0), Exception::PointerAuthTrap);
    assert_eq!(decoded(0x1c, 2), Exception::PointerAuthFailure);
}

#[test]
fn a_trapped_system_register_by_its_encoding() {
    // mrs x5, midr_el1: op0 3, op1 0, CRn 0, CRm 0, op2 0.
    let midr = SystemRegister { encoding: (3, 0, 0, 0, 0), rt: 5, is_read: true };
    assert_eq!(decoded(0x18, 3 << 20 | 5 << 5 | 1), Exception::SystemRegister(midr));
    // msr dczid_el0 does not exist; dc civac, x30 does: op0 1, op1 3, CRn 7, CRm 14, op2 1.
    let civac = SystemRegister { encoding: (1, 3, 7, 14, 1), rt: 30, is_read: false };
    let iss = 1 << 20 | 1 << 17 | 3 << 14 | 7 << 10 | 30 << 5 | 14 << 1;
    assert_eq!(decoded(0x18, iss), Exception::SystemRegister(civac));
    assert_eq!(civac.to_string(), "write of S1_3_C7_C14_1");
    assert_eq!(midr.to_string(), "read of S3_0_C0_C0_0");
    let all = SystemRegister { encoding: (3, 7, 15, 15, 7), rt: 31, is_read: true };
    assert_eq!(decoded(0x18, 0x3f_ffff), Exception::SystemRegister(all));
}

#[test]
fn misaligned_registers() {
    assert_eq!(decoded(0x22, 0), Exception::PcAlignment);
    assert_eq!(decoded(0x26, 0), Exception::SpAlignment);
    assert!(syndrome(0x22, 0).has_address());
    assert!(!syndrome(0x26, 0).has_address(), "FAR_EL1 isn't written");
}

#[test]
fn floating_point_exceptions_where_the_cpu_tells_them() {
    const TFV: u64 = 1 << 23;
    assert_eq!(decoded(0x2c, 1), Exception::FloatingPoint(None));
    let flags = [
        (0, FpExceptions::IOF),
        (1, FpExceptions::DZF),
        (2, FpExceptions::OFF),
        (3, FpExceptions::UFF),
        (4, FpExceptions::IXF),
        (7, FpExceptions::IDF),
    ];
    for (bit, flag) in flags {
        assert_eq!(decoded(0x2c, TFV | 1 << bit), Exception::FloatingPoint(Some(flag)));
    }
    // Bits 5 and 6 are reserved, and VECITR above says nothing of exceptions.
    let none = Exception::FloatingPoint(Some(FpExceptions::empty()));
    assert_eq!(decoded(0x2c, TFV | 0x760), none);
    let two = decoded(0x2c, TFV | 3).to_string();
    assert_eq!(two, "floating-point exception, IOF, DZF");
}

#[test]
fn exceptions_of_the_debug_registers() {
    use Origin::{Lower, Same};
    assert_eq!(decoded(0x30, 0x22), Exception::Breakpoint(Lower));
    assert_eq!(decoded(0x31, 0x22), Exception::Breakpoint(Same));
    assert_eq!(decoded(0x32, 0x22), Exception::SoftwareStep(Lower));
    assert_eq!(decoded(0x33, 0x22), Exception::SoftwareStep(Same));
    let read = Exception::Watchpoint { from: Lower, is_write: false };
    let write = Exception::Watchpoint { from: Lower, is_write: true };
    assert_eq!(decoded(0x34, 0x22), read);
    assert_eq!(decoded(0x34, 0x62), write);
    assert_eq!(decoded(0x34, 0x162), read, "a cache operation");
    assert_eq!(decoded(0x35, 0x62), Exception::Watchpoint { from: Same, is_write: true });
    assert!(syndrome(0x34, 0x22).has_address() && syndrome(0x35, 0x22).has_address());
    assert!(!syndrome(0x34, 0x62).is_write(), "a watchpoint is no abort");
}

#[test]
fn aborts_say_whose_they_are_and_of_what() {
    use Origin::{Lower, Same};
    let is = |ec, iss, origin, fetch: bool, is_write| {
        let (from, abort) = match decoded(ec, iss) {
            Exception::InstructionAbort(from, abort) if fetch => (from, abort),
            Exception::DataAbort(from, abort) if !fetch => (from, abort),
            other => panic!("{other:?}"),
        };
        assert_eq!((from, abort.is_write), (origin, is_write), "{ec:#x} {iss:#x}");
        assert_eq!(abort.status, FaultStatus::Permission(3));
    };
    is(0x20, 0x0f, Lower, true, false);
    is(0x21, 0x0f, Same, true, false);
    is(0x20, 0x4f, Lower, true, false);
    is(0x24, 0x0f, Lower, false, false);
    is(0x24, 0x4f, Lower, false, true);
    is(0x25, 0x4f, Same, false, true);
    is(0x24, 0x14f, Lower, false, false); // DC CIVAC: CM and WnR
    assert!(syndrome(0x24, 0x4f).is_write() && !syndrome(0x20, 0x4f).is_write());
    assert!(syndrome(0x25, 0).is_data_abort_at_el1() && !syndrome(0x24, 0).is_data_abort_at_el1());
}

#[test]
fn a_translation_fault_of_the_kernel_is_none_of_a_user() {
    for (ec, is) in [(0x20, false), (0x21, true), (0x24, false), (0x25, true), (0x35, false)] {
        for level in 4..8 {
            assert_eq!(syndrome(ec, level).is_translation_fault(), is, "class {ec:#x}");
        }
        for other in [0x03, 0x08, 0x0f, 0x14, 0x21] {
            assert!(!syndrome(ec, other).is_translation_fault());
        }
    }
}

#[test]
fn fault_status_by_kind_and_level() {
    use FaultStatus::*;
    for level in 0..4 {
        let n = level as i8;
        assert_eq!(status(level), AddressSize(n));
        assert_eq!(status(0x04 + level), Translation(n));
        assert_eq!(status(0x08 + level), AccessFlag(n));
        assert_eq!(status(0x0c + level), Permission(n));
        assert_eq!(status(0x14 + level), ExternalOnWalk(n));
        assert_eq!(status(0x1c + level), ParityOnWalk(n));
        assert_eq!(status(0x24 + level), GranuleProtection(Some(n)));
    }
    let rest = [
        (0x10, External),
        (0x11, TagCheck),
        (0x13, ExternalOnWalk(-1)),
        (0x18, Parity),
        (0x1b, ParityOnWalk(-1)),
        (0x21, Alignment),
        (0x23, GranuleProtection(Some(-1))),
        (0x28, GranuleProtection(None)),
        (0x29, AddressSize(-1)),
        (0x2b, Translation(-1)),
        (0x30, TlbConflict),
        (0x31, UnsupportedAtomicUpdate),
        (0x35, UnsupportedAtomic),
    ];
    for (code, is) in rest {
        assert_eq!(status(code), is, "{code:#x}");
    }
    for code in [0x12, 0x19, 0x1a, 0x20, 0x22, 0x2a, 0x2c, 0x2f, 0x32, 0x33, 0x34, 0x36, 0x3f] {
        assert_eq!(status(code), Other(code as u8));
    }
}

#[test]
fn an_external_abort_may_have_no_address() {
    const FNV: u64 = 1 << 10;
    for ec in [0x20, 0x21, 0x24, 0x25] {
        assert!(syndrome(ec, 0x10).has_address());
        assert!(!syndrome(ec, FNV | 0x10).has_address());
        assert!(syndrome(ec, FNV | 0x07).has_address(), "FnV is of external aborts alone");
    }
}

#[test]
fn the_severity_of_an_serror() {
    let severity = |iss| match decoded(0x2f, iss) {
        Exception::SError(severity) => severity,
        other => panic!("{other:?}"),
    };
    let of = [
        Severity::Uncontainable,
        Severity::Unrecoverable,
        Severity::Restartable,
        Severity::Recoverable,
        Severity::Uncategorized,
        Severity::Uncategorized,
        Severity::Corrected,
        Severity::Uncategorized,
    ];
    for (aet, expected) in of.into_iter().enumerate() {
        let iss = (aet as u64) << 10 | 0x11;
        assert_eq!(severity(iss), expected);
        assert_eq!(severity(1 << 24 | iss), Severity::Uncategorized, "bits of the CPU's own");
        assert_eq!(severity(iss & !0x3f), Severity::Uncategorized, "no DFSC");
    }
}

#[test]
fn every_syndrome_has_words() {
    let mut words = BTreeSet::new();
    let mut others = BTreeSet::new();
    for ec in 0..64 {
        for iss in [0, 0x1ff_ffff, 0x04, 0x47, 0x10] {
            let syndrome = syndrome(ec, iss);
            let text = syndrome.to_string();
            assert!(text.ends_with(&format!("(EC {ec:#04x}, ISS {iss:#09x})")), "{text}");
            match syndrome.exception() {
                Exception::Other(class) => others.insert(u64::from(class)),
                exception => words.insert(exception.to_string()),
            };
        }
    }
    // Classes of AArch32, of EL2 and EL3, and those that are reserved.
    let known = [
        0x00, 0x01, 0x07, 0x09, 0x0a, 0x0d, 0x0e, 0x15, 0x16, 0x17, 0x18, 0x19, 0x1c, 0x1d, 0x20,
        0x21, 0x22, 0x24, 0x25, 0x26, 0x27, 0x2c, 0x2d, 0x2f, 0x30, 0x31, 0x32, 0x33, 0x34, 0x35,
        0x3c,
    ];
    assert!(
        others.iter().eq((0..64).filter(|ec| !known.contains(ec)).collect::<BTreeSet<_>>().iter())
    );
    assert!(words.iter().all(|text: &String| !text.contains("reserved")));
}

#[test]
fn words_of_a_report() {
    let text = syndrome(0x25, 0x47).to_string();
    assert_eq!(text, "data abort, translation fault, level 3, on a write (EC 0x25, ISS 0x0000047)");
    let text = syndrome(0x21, 0x0f).to_string();
    assert_eq!(text, "instruction abort, permission fault, level 3 (EC 0x21, ISS 0x000000f)");
    let text = syndrome(0x24, 0x10).to_string();
    assert_eq!(text, "data abort, synchronous external abort, on a read (EC 0x24, ISS 0x0000010)");
}
