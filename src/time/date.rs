//! Dates of the Gregorian calendar in UTC (Linux: drivers/rtc/lib.c, struct rtc_time).

use core::fmt;

/// Seconds in a day.
const DAY: u64 = 86_400;
/// Days in 400 years, after which the calendar repeats itself.
const ERA_DAYS: u64 = 146_097;
/// Days from 0000-03-01 to 1970-01-01.
const EPOCH: u64 = 719_468;

/// A date and a time of day in UTC. `Display` gives `2026-11-29T08:00:00`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Date {
    /// Year, 1970 or later.
    pub year: u64,
    /// Month, 1 to 12.
    pub month: u8,
    /// Day of the month, 1 to 31.
    pub day: u8,
    /// Hour, 0 to 23.
    pub hour: u8,
    /// Minute, 0 to 59.
    pub minute: u8,
    /// Second, 0 to 59.
    pub second: u8,
}

impl Date {
    /// The date `seconds` after 1970-01-01 (Linux: rtc_time64_to_tm).
    #[must_use]
    pub const fn from_seconds(seconds: u64) -> Self {
        let (days, second) = (seconds / DAY + EPOCH, seconds % DAY);
        // Years begin in March here, so that a leap day is the last of its year. Years of an era
        // of 400 have 365 days, and one more every 4 years but not every 100.
        let (era, day) = (days / ERA_DAYS, days % ERA_DAYS);
        let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
        let day = day - (365 * year + year / 4 - year / 100);
        // Five months from March on, and from August on, have 153 days.
        let month = (5 * day + 2) / 153;
        let day = day - (153 * month + 2) / 5 + 1;
        let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
        Self {
            year: 400 * era + year + next,
            month: month as u8,
            day: day as u8,
            hour: (second / 3600) as u8,
            minute: (second / 60 % 60) as u8,
            second: (second % 60) as u8,
        }
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { year, month, day, hour, minute, second } = self;
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")
    }
}
