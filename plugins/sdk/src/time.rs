//! Points in time from text.

use crate::{Malformed, Timestamp};

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
    let (fixed, rest) = text.split_at_checked(19)?;
    let [y0, y1, y2, y3, b'-', m0, m1, b'-', d0, d1, b'T' | b't' | b' ', h0, h1, b':', i0, i1, b':', s0, s1] = fixed
    else {
        return None;
    };
    let (year, month, day) = (digits(&[*y0, *y1, *y2, *y3])?, digits(&[*m0, *m1])?, digits(&[*d0, *d1])?);
    let (hour, minute, second) = (digits(&[*h0, *h1])?, digits(&[*i0, *i1])?, digits(&[*s0, *s1])?);
    if !(1..=12).contains(&month) || !(1..=days_of(year, month)).contains(&day) {
        return None;
    }
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }

    let (fraction, zone) = match rest {
        [b'.', rest @ ..] => {
            let end = rest.iter().position(|byte| !byte.is_ascii_digit())?;
            (Some(&rest[..end]).filter(|fraction| !fraction.is_empty())?, &rest[end..])
        }
        _ => (&[][..], rest),
    };
    let nano = (0..9).fold(0, |nano, place| nano * 10 + i64::from(fraction.get(place).map_or(0, |digit| digit - b'0')));
    let offset = match zone {
        b"Z" | b"z" => 0,
        [sign @ (b'+' | b'-'), h0, h1, b':', m0, m1] => {
            let (hours, minutes) = (digits(&[*h0, *h1])?, digits(&[*m0, *m1])?);
            if hours > 23 || minutes > 59 {
                return None;
            }
            (hours * 60 + minutes) * 60 * if *sign == b'-' { -1 } else { 1 }
        }
        _ => return None,
    };

    let seconds = days_since_epoch(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second - offset;
    seconds.checked_mul(1_000_000_000)?.checked_add(nano)
}

fn digits(text: &[u8]) -> Option<i64> {
    text.iter().try_fold(0, |number, byte| byte.is_ascii_digit().then(|| number * 10 + i64::from(byte - b'0')))
}

fn days_of(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Days of the proleptic Gregorian calendar. The year begins in March, so that the leap day comes last.
fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
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
