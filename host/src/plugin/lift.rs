//! The two lists that messages come out as, read in one pass into the host's own types. How an item looks in memory is
//! known here and nowhere else; what it means is `convert`'s.
//!
//! Nearly every item is an observation of a decimal. wasmtime lifts one field by field, each by a call of its own that
//! looks the field's type up: more work than a plugin has with a short price. So such an item is read here, at the
//! places that the canonical ABI gives its fields, and every other is left to what wasmtime generated.

use wasmtime::ValRaw;
use wasmtime::component::__internal::{CanonicalAbiInfo, InstanceType, InterfaceType, LiftContext, bad_type_info};
use wasmtime::component::{ComponentType, Lift};

use super::bindings::{polling, streaming, types};
use super::convert;
use crate::contract::codec::{Event, Outcome};

/// A list of `T` on its way out, in the host's types.
pub(super) struct Listed<T: Item>(pub(super) Vec<T::Host>);

/// What can stand in such a list: a variant whose first case is an observation, and none of whose cases is larger.
pub(super) trait Item: Lift {
    type Host: std::fmt::Debug + Send + Sync;

    fn observed(observation: types::Observation) -> Self;

    fn host(self) -> Self::Host;
}

impl Item for streaming::Event {
    type Host = Event;

    fn observed(observation: types::Observation) -> Self {
        Self::Observed(observation)
    }

    fn host(self) -> Event {
        convert::event(self)
    }
}

impl Item for polling::Outcome {
    type Host = Outcome;

    fn observed(observation: types::Observation) -> Self {
        Self::Observed(observation)
    }

    fn host(self) -> Outcome {
        convert::outcome(self)
    }
}

/// An item of either list.
const ITEM: usize = 80;

const _: () = assert!(streaming::Event::SIZE32 == ITEM && streaming::Event::ALIGN32 == 8);
const _: () = assert!(polling::Outcome::SIZE32 == ITEM && polling::Outcome::ALIGN32 == 8);
const _: () = assert!(types::Observation::SIZE32 == ITEM - 8);

/// Where the parts of an observation of a decimal are: each of a variant's cases eight bytes behind its number.
mod at {
    pub(super) const CASE: usize = 0;
    pub(super) const KEY: usize = 8;
    pub(super) const VALUE: usize = 16;
    pub(super) const COEFFICIENT: usize = 24;
    pub(super) const EXPONENT: usize = 32;
    pub(super) const HAS_TIME: usize = 40;
    pub(super) const UNIT: usize = 48;
    pub(super) const TIME: usize = 56;
    pub(super) const HAS_SEQUENCE: usize = 64;
    pub(super) const SEQUENCE: usize = 72;
}

/// An observation of a decimal; `None` for whatever else there is, right or wrong.
#[inline]
fn decimal(item: &[u8; ITEM]) -> Option<types::Observation> {
    let half = |at: usize| u32::from_le_bytes([item[at], item[at + 1], item[at + 2], item[at + 3]]);
    let whole = |at: usize| u64::from(half(at)) | u64::from(half(at + 4)) << 32;
    // The first of each variant's cases: `observed`, `decimal`.
    if item[at::CASE] != 0 || item[at::VALUE] != 0 {
        return None;
    }
    let time = whole(at::TIME).cast_signed();
    let observed_at = match (item[at::HAS_TIME], item[at::UNIT]) {
        (0, _) => None,
        (1, 0) => Some(types::Timestamp::Seconds(time)),
        (1, 1) => Some(types::Timestamp::Millis(time)),
        (1, 2) => Some(types::Timestamp::Micros(time)),
        (1, 3) => Some(types::Timestamp::Nanos(time)),
        _ => return None,
    };
    let sequence = match item[at::HAS_SEQUENCE] {
        0 => None,
        1 => Some(whole(at::SEQUENCE)),
        _ => return None,
    };
    let (coefficient, exponent) = (whole(at::COEFFICIENT).cast_signed(), half(at::EXPONENT).cast_signed());
    let value = types::Value::Decimal(types::Decimal { coefficient, exponent });
    Some(types::Observation { key: half(at::KEY), value, observed_at, sequence })
}

impl<T: Item> Listed<T> {
    fn lift(cx: &mut LiftContext<'_>, ty: InterfaceType, start: u32, length: u32) -> wasmtime::Result<Self> {
        let InterfaceType::List(list) = ty else { bad_type_info() };
        let element = cx.types[list].element;
        let (start, length) = (usize::try_from(start)?, usize::try_from(length)?);
        let items = length.checked_mul(ITEM).and_then(|bytes| cx.memory().get(start..)?.get(..bytes));
        let Some(items) = items else { wasmtime::bail!("list pointer/length out of bounds of memory") };
        if !start.is_multiple_of(8) {
            wasmtime::bail!("list pointer is not aligned");
        }
        // As much as wasmtime counts for a list of these: what an operator set as the limit keeps its meaning.
        cx.consume_fuel_array(length, size_of::<T>())?;
        let mut listed = Vec::with_capacity(length);
        for item in items.as_chunks().0 {
            let quick = decimal(item);
            // What the tests run is read both ways.
            if cfg!(debug_assertions)
                && let Some(quick) = &quick
            {
                let lifted = T::linear_lift_from_memory(cx, element, item)?.host();
                assert_eq!(format!("{lifted:?}"), format!("{:?}", T::observed(quick.clone()).host()));
            }
            listed.push(match quick {
                Some(observation) => T::observed(observation).host(),
                None => T::linear_lift_from_memory(cx, element, item)?.host(),
            });
        }
        Ok(Self(listed))
    }
}

#[expect(unsafe_code, reason = "wasmtime has no other way to lift a type by hand")]
// SAFETY: all of it is what wasmtime says of the list that this stands for.
unsafe impl<T: Item> ComponentType for Listed<T> {
    type Lower = [ValRaw; 2];

    const ABI: CanonicalAbiInfo = <Vec<T> as ComponentType>::ABI;

    fn typecheck(ty: &InterfaceType, types: &InstanceType<'_>) -> wasmtime::Result<()> {
        <Vec<T> as ComponentType>::typecheck(ty, types)
    }
}

#[expect(unsafe_code, reason = "wasmtime has no other way to lift a type by hand")]
// SAFETY: both read a list as the canonical ABI has it, and nothing that is beyond the memory.
unsafe impl<T: Item> Lift for Listed<T> {
    fn linear_lift_from_flat(cx: &mut LiftContext<'_>, ty: InterfaceType, src: &[ValRaw; 2]) -> wasmtime::Result<Self> {
        Self::lift(cx, ty, src[0].get_u32(), src[1].get_u32())
    }

    fn linear_lift_from_memory(cx: &mut LiftContext<'_>, ty: InterfaceType, bytes: &[u8]) -> wasmtime::Result<Self> {
        let &[a, b, c, d, e, f, g, h] = bytes else {
            wasmtime::bail!("a list is two words, not {} bytes", bytes.len())
        };
        Self::lift(cx, ty, u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]))
    }
}
