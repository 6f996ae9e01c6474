//! What a session promises, by theme. What happens within the messages of one connection is tested in
//! `subscriptions`.

mod attempts;
mod open;
mod replacing;
mod storm;
mod story;
mod walk;
mod wanted;
