//! Points in time from text. What time it is now stands in the `Context` of each call, not here.

use crate::{
    Malformed, Timestamp,
    digits::{TENS, digits},
};

/// An RFC 3339 date and time, such as `2026-08-09T21:05:48.229198328Z`, to the nanosecond. Digits beyond the ninth
/// are dropped; a leap second counts as the second after.
///
/// ```
/// # use feedgate_sdk::{Timestamp, rfc3339};
/// assert_eq!(rfc3339("1970-01-01T01:00:00.5+01:00"), Ok(Timestamp::Nanos(500_000_000)));
/// ```
pub fn rfc3339(text: &str) -> Result<Timestamp, Malformed> {
    nanos(text.as_bytes()).map(Timestamp::Nanos).ok_or(Malformed::new("not an RFC 3339 time"))
}

fn nanos(text: &[u8]) -> Option<i64> {
    let (&fixed, rest) = text.split_first_chunk::<19>()?;
    let [y0, y1, y2, y3, b'-', m0, m1, b'-', d0, d1, b'T' | b't' | b' ', h0, h1, b':', i0, i1, b':', s0, s1] = fixed
    else {
        return None;
    };
    let date = number(&[y0, y1, y2, y3, m0, m1, d0, d1])?;
    let (year, month, day) = (date / 10_000, date / 100 % 100, date % 100);
    let time = number(&[h0, h1, i0, i1, s0, s1])?;
    let (hour, minute, second) = (time / 10_000, time / 100 % 100, time % 100);
    if !(1..=12).contains(&month) || !(1..=days_of(year, month)).contains(&day) {
        return None;
    }
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }

    let (nano, zone) = match rest {
        // As nearly all write it.
        [b'.', fraction @ .., b'Z'] if fraction.len() <= 9 => (digits(fraction)? * TENS[9 - fraction.len()], &b"Z"[..]),
        [b'.', rest @ ..] => {
            let (fraction, zone) = rest.split_at(rest.iter().position(|byte| !byte.is_ascii_digit())?);
            let fraction = &fraction[..fraction.len().min(9)];
            (digits(fraction)? * TENS[9 - fraction.len()], zone)
        }
        _ => (0, rest),
    };
    let offset = match zone {
        b"Z" | b"z" => 0,
        &[sign @ (b'+' | b'-'), h0, h1, b':', m0, m1] => {
            let (hours, minutes) = (number(&[h0, h1])?, number(&[m0, m1])?);
            if hours > 23 || minutes > 59 {
                return None;
            }
            (hours * 60 + minutes) * 60 * if sign == b'-' { -1 } else { 1 }
        }
        _ => return None,
    };

    let seconds =
        i64::from(days_since_epoch(year, month, day)) * 86_400 + i64::from(hour * 3600 + minute * 60 + second - offset);
    seconds.checked_mul(1_000_000_000)?.checked_add(i64::try_from(nano).ok()?)
}

/// Eight digits at most.
#[inline]
fn number(text: &[u8]) -> Option<i32> {
    i32::try_from(digits(text)?).ok()
}

fn days_of(year: i32, month: i32) -> i32 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Days of the proleptic Gregorian calendar. The year begins in March, so that the leap day comes last.
fn days_since_epoch(year: i32, month: i32, day: i32) -> i32 {
    let year = if month <= 2 { year - 1 } else { year };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        for (text, nanos) in [
            ("1970-01-01T00:00:00Z", 0),
            ("1969-12-31T23:59:59.999999999Z", -1),
            ("2000-02-29T12:00:00Z", 951_825_600_000_000_000),
            ("2026-08-09T21:05:48.229198328Z", 1_786_309_548_229_198_328),
            ("2026-08-09 21:05:48.2291983289999z", 1_786_309_548_229_198_328),
            ("2026-08-09T21:05:48.2291983289999999999999999Z", 1_786_309_548_229_198_328),
            ("2026-08-09T21:05:48.2Z", 1_786_309_548_200_000_000),
            ("2026-08-09T21:05:48.229198+00:00", 1_786_309_548_229_198_000),
            ("2026-08-09T23:05:48.229198328+02:00", 1_786_309_548_229_198_328),
            ("2026-08-09T20:35:48.229198328-00:30", 1_786_309_548_229_198_328),
            ("2016-12-31T23:59:60Z", 1_483_228_800_000_000_000),
        ] {
            assert_eq!(rfc3339(text), Ok(Timestamp::Nanos(nanos)), "{text}");
        }
    }

    #[test]
    fn not_times() {
        for text in [
            "",
            "2026-08-09",
            "2026-08-09T21:05:48",
            "2026-13-09T21:05:48Z",
            "2026-02-29T21:05:48Z",
            "2026-08-00T21:05:48Z",
            "2026-08-09T24:05:48Z",
            "2026-08-09T21:60:48Z",
            "2026-08-09T21:05:61Z",
            "2026-08-09T21:05:48.Z",
            "2026-08-09T21:05:48.5a3Z",
            "2026-08-09T21:05:48.1234567890aZ",
            "2026-08-09T21:05:48.5+01:0Z",
            "2026-08-09T21:05:48.+01:00",
            "2026-08-09T21:05:48.5",
            "2026-08-09T21:05:48+0200",
            "2026-08-09T21:05:48ZZ",
            "0001-01-01T00:00:00Z",
            "9999-12-31T23:59:59Z",
            "2026-08-09T21:05:4éZ",
            "+026-08-09T21:05:48Z",
        ] {
            assert!(rfc3339(text).is_err(), "{text}");
        }
    }
}
