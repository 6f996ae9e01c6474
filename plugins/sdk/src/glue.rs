//! What ties a plugin's type to the exports of its component.
//!
//! The bindings are generated in the plugin's own crate, because the section that names its world must stand in its
//! own object: were all worlds in this crate, each plugin would claim to implement all of them.

use std::{cell::RefCell, panic, sync::Once};

use crate::{Level, log};

/// The one instance that lives in a component.
#[derive(Debug)]
pub struct Slot<T>(RefCell<Option<T>>);

impl<T> Slot<T> {
    #[expect(clippy::new_without_default, reason = "only the macros make one, in a constant")]
    pub const fn new() -> Self {
        Self(RefCell::new(None))
    }

    /// Puts the configured plugin in.
    pub fn fill<V, E>(&self, configure: impl FnOnce() -> Result<(T, V), E>) -> Result<V, E> {
        report_panics();
        assert!(self.0.borrow().is_none(), "`configure` was called twice on one instance");
        let (plugin, kind) = configure()?;
        *self.0.borrow_mut() = Some(plugin);
        Ok(kind)
    }

    /// Calls the plugin.
    pub fn with<R>(&self, call: impl FnOnce(&mut T) -> R) -> R {
        report_panics();
        let mut plugin = self.0.borrow_mut();
        call(plugin.as_mut().expect("`configure` must be called, and succeed, before anything else"))
    }
}

/// Lets a panic say what it was before it becomes a trap: without a standard error there is nowhere else to say it.
pub fn report_panics() {
    // Native tests have a standard error, and hooks of their own.
    if cfg!(target_family = "wasm") {
        static ONCE: Once = Once::new();
        ONCE.call_once(|| panic::set_hook(Box::new(|panic| log(Level::Error, &panic.to_string()))));
    }
}

/// Makes a component that streams from a type that implements [`WebSocket`](crate::WebSocket).
#[macro_export]
macro_rules! websocket_provider {
    ($plugin:ty) => {
        $crate::__component!($plugin, __websocket_bindings, describe websocket);
    };
}

/// Makes a component that polls from a type that implements [`Http`](crate::Http).
#[macro_export]
macro_rules! http_provider {
    ($plugin:ty) => {
        $crate::__component!($plugin, __http_bindings, describe http);
    };
}

/// Makes a component that can do both from a type that implements [`WebSocket`](crate::WebSocket) and
/// [`Http`](crate::Http).
#[macro_export]
macro_rules! provider {
    ($plugin:ty) => {
        $crate::__component!($plugin, __provider_bindings, describe websocket http);
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __component {
    ($plugin:ty, $bindings:ident, $($interface:ident)+) => {
        #[doc(hidden)]
        #[allow(unreachable_pub, dead_code, reason = "generated")]
        mod __component {
            #[allow(unused_imports, reason = "the plugin's type may be named by a path")]
            use super::*;

            mod bindings {
                $crate::$bindings!();
            }

            type Plugin = $plugin;

            struct Component;

            ::std::thread_local! {
                static PLUGIN: $crate::Slot<Plugin> = const { $crate::Slot::new() };
            }

            fn with<R>(call: impl FnOnce(&mut Plugin) -> R) -> R {
                PLUGIN.with(|slot| slot.with(call))
            }

            $($crate::__export!($interface);)+

            // The names of the exports hold characters that only a linker of WebAssembly accepts.
            #[cfg(target_family = "wasm")]
            bindings::export!(Component with_types_in bindings);
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __export {
    (describe) => {
        impl bindings::exports::feedgate::provider::describe::Guest for Component {
            fn describe() -> $crate::Description {
                $crate::report_panics();
                <Plugin as $crate::Plugin>::describe()
            }

            fn configure(
                settings: ::std::string::String,
            ) -> ::std::result::Result<
                $crate::ValueKind,
                bindings::exports::feedgate::provider::describe::SettingsError,
            > {
                PLUGIN
                    .with(|plugin| plugin.fill(|| <Plugin as $crate::Plugin>::configure(&settings)))
                    .map_err(|$crate::SettingsError { field, why }| {
                        bindings::exports::feedgate::provider::describe::SettingsError {
                            field,
                            why,
                        }
                    })
            }
        }
    };
    (http) => {
        impl bindings::exports::feedgate::provider::http::Guest for Component {
            fn create_requests(
                context: $crate::Context,
                subscriptions: ::std::vec::Vec<$crate::Subscription>,
            ) -> ::std::result::Result<::std::vec::Vec<$crate::http::PlannedRequest>, $crate::Error>
            {
                with(|plugin| $crate::Http::create_requests(plugin, &context, &subscriptions))
            }

            fn parse_response(
                context: $crate::Context,
                keys: ::std::vec::Vec<$crate::Key>,
                response: $crate::Response,
            ) -> ::std::result::Result<::std::vec::Vec<$crate::http::Outcome>, $crate::Error> {
                with(|plugin| $crate::Http::parse_response(plugin, &context, &keys, &response))
            }
        }
    };
    (websocket) => {
        impl bindings::exports::feedgate::provider::websocket::Guest for Component {
            fn connect(
                context: $crate::Context,
                subscriptions: ::std::vec::Vec<$crate::Subscription>,
                previous: ::std::option::Option<$crate::Response>,
            ) -> ::std::result::Result<$crate::websocket::Step, $crate::Error> {
                with(|plugin| $crate::WebSocket::connect(plugin, &context, &subscriptions, previous))
            }

            fn subscribe(
                context: $crate::Context,
                subscriptions: ::std::vec::Vec<$crate::Subscription>,
            ) -> ::std::result::Result<::std::vec::Vec<$crate::Frame>, $crate::Error> {
                with(|plugin| $crate::WebSocket::subscribe(plugin, &context, &subscriptions))
            }

            fn unsubscribe(
                context: $crate::Context,
                subscriptions: ::std::vec::Vec<$crate::Subscription>,
            ) -> ::std::result::Result<::std::vec::Vec<$crate::Frame>, $crate::Error> {
                with(|plugin| $crate::WebSocket::unsubscribe(plugin, &context, &subscriptions))
            }

            fn heartbeat(context: $crate::Context) -> ::std::vec::Vec<$crate::Frame> {
                with(|plugin| $crate::WebSocket::heartbeat(plugin, &context))
            }

            fn handle_messages(
                context: $crate::Context,
                received: $crate::websocket::Received,
                ends: ::std::option::Option<::std::vec::Vec<u32>>,
            ) -> ::std::vec::Vec<$crate::websocket::Event> {
                with(|plugin| $crate::Events::read_received(plugin, &context, &received, ends.as_deref()))
            }
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_filled_once() {
        let slot = Slot::new();
        assert_eq!(slot.fill(|| Err::<(u8, ()), _>("no")), Err("no"));
        assert_eq!(slot.fill(|| Ok::<_, ()>((7, "kind"))), Ok("kind"));
        assert_eq!(slot.with(|number| *number), 7);
    }

    #[test]
    #[should_panic(expected = "before anything else")]
    fn a_call_before_configure() {
        Slot::<u8>::new().with(|_| ());
    }

    #[test]
    #[should_panic(expected = "twice")]
    fn configured_twice() {
        let slot = Slot::new();
        let _ = slot.fill(|| Ok::<_, ()>((7, ())));
        let _ = slot.fill(|| Ok::<_, ()>((7, ())));
    }
}
