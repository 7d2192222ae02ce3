//! The date of an answer, as a header writes it.
//!
//! In: seconds since the Unix epoch. Out: text such as `Sun, 06 Nov 1994 08:49:37 GMT`.
//! Law: the text is made once for each second that is told, and not for each answer.
//! Source: RFC 9110 sections 5.6.7 (`IMF-fixdate`), 6.6.1 (`Date`).

use std::io::Write as _;

/// Bytes of a date.
const LENGTH: usize = 29;

/// A date as text, or none, as long as nobody has told the time.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Date(Option<[u8; LENGTH]>);

impl Date {
    /// The date at this time, in seconds since the Unix epoch. A time before the epoch, or after the year 9999, has
    /// none.
    pub fn at(unix_secs: u64) -> Self {
        const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
        const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
        let (days, second) = (unix_secs / 86_400, unix_secs % 86_400);
        let (year, month, day) = civil(days);
        let mut text = [b' '; LENGTH];
        let written = write!(
            &mut text[..],
            "{}, {day:02} {} {year:04} {:02}:{:02}:{:02} GMT",
            DAYS[(days % 7) as usize],
            MONTHS[month as usize],
            second / 3_600,
            second / 60 % 60,
            second % 60
        );
        Self(written.is_ok().then_some(text))
    }

    /// The text, if the time is known.
    pub fn text(&self) -> Option<&str> {
        std::str::from_utf8(self.0.as_ref()?).ok()
    }

    /// The header, for those who add headers to an answer; none if the time is not known.
    pub fn header(&self) -> Option<(&'static str, &str)> {
        Some(("Date", self.text()?))
    }
}

/// Year, month counted from 0, and day of the month, of a day since the epoch. Years begin in March here, so that the
/// day that some years lack is the last one; an era is 400 years, after which the calendar repeats.
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days.saturating_add(719_468);
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let day_of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12;
    (era.saturating_mul(400) + year_of_era + u64::from(month < 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_written_as_the_standard_writes_it() {
        for (secs, text) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (951_827_696, "Tue, 29 Feb 2000 12:34:56 GMT"),
            (4_107_542_399, "Sun, 28 Feb 2100 23:59:59 GMT"),
            (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT"),
            (253_402_300_799, "Fri, 31 Dec 9999 23:59:59 GMT"),
        ] {
            assert_eq!(Date::at(secs).text(), Some(text));
        }
        assert_eq!(Date::at(253_402_300_800).text(), None);
        assert_eq!((Date::at(u64::MAX).text(), Date::default().header()), (None, None));
    }
}
