//! JSON without losing a digit, and quickly. Each file has one thing, and this one only lists them.

mod block;
mod deserialize;
mod item;
mod names;
mod number;
mod object;
mod present;
mod read;
mod reader;
mod scan;
mod text;

pub use self::{
    item::{Item, each_item},
    number::{Number, price},
    object::Object,
    present::present,
    read::{each, object, read},
    text::Text,
};
