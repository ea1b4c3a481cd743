//! Clocks and dates.

use super::*;
use crate::addr::{PhysAddr, PhysRange};
use crate::arch::hosted::Machine;
use std::string::ToString;

/// Days of each month of a year that is not a leap year.
const MONTHS: [u8; 12] = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

fn days(year: u64, month: u8) -> u8 {
    let of = |n| u64::is_multiple_of(year, n);
    let is_leap = of(4) && (!of(100) || of(400));
    MONTHS[usize::from(month) - 1] + u8::from(is_leap && month == 2)
}

#[test]
fn every_day_of_six_hundred_years_follows_the_one_before() {
    let (mut year, mut month, mut day) = (1970, 1, 1);
    for n in 0.. {
        let seconds = n * 86_400;
        let date = Date { year, month, day, hour: 0, minute: 0, second: 0 };
        assert_eq!(Date::from_seconds(seconds), date);
        let end = Date { hour: 23, minute: 59, second: 59, ..date };
        assert_eq!(Date::from_seconds(seconds + 86_399), end);
        day += 1;
        if day > days(year, month) {
            (month, day) = (month + 1, 1);
        }
        if month > 12 {
            (year, month) = (year + 1, 1);
        }
        if year == 2570 {
            break;
        }
    }
}

#[test]
fn dates_are_those_of_others() {
    for (seconds, text) in [
        (0, "1970-01-01T00:00:00"),
        (951_782_400, "2000-02-29T00:00:00"),
        (1_000_000_000, "2001-09-09T01:46:40"),
        (0x7fff_ffff, "2038-01-19T03:14:07"),
        (0xffff_ffff, "2106-02-07T06:28:15"),
        (KTIME_MAX / NSEC_PER_SEC, "2262-04-11T23:47:16"),
    ] {
        assert_eq!(Date::from_seconds(seconds).to_string(), text);
    }
    // No number is too large.
    assert_eq!(Date::from_seconds(u64::MAX).second, 15);
}

#[test]
fn the_realtime_clock_is_set_and_the_monotonic_goes_on() {
    let ram = PhysRange::from_size(PhysAddr::new(0x4000_0000), 4 << 20);
    Machine::run(&[ram], |_| {
        assert!(ktime_get_real() < NSEC_PER_SEC, "without an RTC it starts at 1970");
        let before = ktime_get();
        let set = 1_795_939_200 * NSEC_PER_SEC;
        assert_eq!(do_settimeofday64(set), Ok(()));
        let (real, after) = (ktime_get_real(), ktime_get());
        assert!(real > set && real - set <= after - before, "{real} {before} {after}");
        assert!(after > before && after < NSEC_PER_SEC);
        let boot = getboottime64();
        for wrong in [0, before, KTIME_MAX + 1, u64::MAX] {
            assert_eq!(do_settimeofday64(wrong), Err(InvalidTime(wrong)));
            assert_eq!(getboottime64(), boot, "as before");
        }
        assert_eq!(do_settimeofday64(KTIME_MAX), Ok(()));
        assert!(ktime_get_real() > KTIME_MAX);
    });
}
