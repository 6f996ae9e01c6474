//! A triangle in whole numbers: the same everywhere, at every time.

use feedgate_sdk::{Decimal, Value, decimal};

/// Beyond it nobody can tell the wave from a standstill.
const LONGEST_MS: u64 = 366 * 24 * 60 * 60 * 1_000;

/// Base and amplitude in units of 10^`exponent`.
#[derive(Debug, PartialEq)]
pub(crate) struct Wave {
    base: i64,
    amplitude: i64,
    exponent: i32,
    period_ms: u64,
}

impl Wave {
    /// An error is a setting and what is wrong with it.
    pub(crate) fn new(base: &str, amplitude: &str, period_ms: u64) -> Result<Self, (&'static str, &'static str)> {
        let number = |text: &str| match decimal(text) {
            Ok(Value::Decimal(number)) if number.coefficient >= 0 => Some(number),
            _ => None,
        };
        let why = "a decimal that is not negative, as text, like \"100.00\"";
        let base = number(base).ok_or(("base", why))?;
        let amplitude = number(amplitude).ok_or(("amplitude", why))?;
        let exponent = base.exponent.min(amplitude.exponent);
        let at = |number: Decimal| {
            let places = number.exponent.checked_sub(exponent)?;
            10_i64.checked_pow(u32::try_from(places).ok()?)?.checked_mul(number.coefficient)
        };
        let (base, amplitude) = at(base).zip(at(amplitude)).ok_or(("amplitude", "too far from base in its digits"))?;
        if amplitude > base {
            return Err(("amplitude", "more than base: prices would be negative"));
        }
        if base.checked_add(amplitude).is_none() {
            return Err(("base", "too many digits"));
        }
        if !(4..=LONGEST_MS).contains(&period_ms) {
            return Err(("period_ms", "from 4 milliseconds to a year"));
        }
        Ok(Self { base, amplitude, exponent, period_ms })
    }

    /// base + amplitude × triangle(time), with the digits of both, the rest cut off towards the base.
    pub(crate) fn at(&self, now_ms: u64, id: &str) -> Value {
        let period = i128::from(self.period_ms);
        let time = (i128::from(now_ms) + i128::from(phase(id))) % period;
        // Up in the first quarter, down in the second and third, up in the fourth: from -1 to 1 in units of a period.
        let quarters = 4 * time;
        let triangle = if quarters < period {
            quarters
        } else if quarters < 3 * period {
            2 * period - quarters
        } else {
            quarters - 4 * period
        };
        let price = i128::from(self.base) + i128::from(self.amplitude) * triangle / period;
        // Between base - amplitude and base + amplitude, which both fit.
        let coefficient = i64::try_from(price).unwrap_or(self.base);
        Value::Decimal(Decimal { coefficient, exponent: self.exponent })
    }
}

/// How far ahead in time an id is, in milliseconds: its FNV-1a hash of 32 bits, so that they do not go in step.
fn phase(id: &str) -> u32 {
    id.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_period() {
        let wave = Wave::new("100.00", "10", 1_000).expect("valid");
        // The id of no bytes is ahead by the hash's first state: 2166136261 ms, 261 ms of a period.
        for (time, coefficient) in [
            (739, 10_000),
            (740, 10_004),
            (864, 10_500),
            (989, 11_000),
            (990, 10_996),
            (1_239, 10_000),
            (1_240, 9_996),
            (1_489, 9_000),
            (1_738, 9_996),
            (1_739, 10_000),
        ] {
            assert_eq!(wave.at(time, ""), Value::Decimal(Decimal { coefficient, exponent: -2 }), "{time}");
        }
    }

    #[test]
    fn ids_go_their_own_ways_between_the_bounds() {
        let wave = Wave::new("1", "1", 997).expect("valid");
        let fine = Wave::new("1.000", "1", 997).expect("valid");
        assert_ne!(fine.at(0, "BTC/USD"), fine.at(0, "ETH/USD"));
        for time in (0..5_000).chain([u64::MAX]) {
            for (wave, most) in [(&wave, 2), (&fine, 2_000)] {
                let Value::Decimal(Decimal { coefficient, .. }) = wave.at(time, "x") else { panic!("no decimal") };
                assert!((0..=most).contains(&coefficient), "{coefficient} at {time}");
            }
        }
    }

    #[test]
    fn what_does_not_fit_is_named() {
        for (base, amplitude, period_ms, field) in [
            ("x", "1", 1_000, "base"),
            ("-1", "0", 1_000, "base"),
            ("1", "", 1_000, "amplitude"),
            ("1", "1.01", 1_000, "amplitude"),
            ("1e30", "1", 1_000, "amplitude"),
            ("9223372036854775807", "1", 1_000, "base"),
            ("12345678901234567890", "1", 1_000, "base"),
            ("1", "1", 3, "period_ms"),
            ("1", "1", u64::MAX, "period_ms"),
        ] {
            let found = Wave::new(base, amplitude, period_ms).map_err(|(field, _)| field);
            assert_eq!(found, Err(field), "{base} {amplitude} {period_ms}");
        }
    }
}
