//! How a section of the file is declared: each key once, with its meaning, type, default and check, and whether it is live.
//!
//! From one declaration come two structs. The *written* one takes whatever stands under a known key and holds the defaults:
//! serde, the list of known keys and the list of live keys are made of it. The checked one is what the engine is built from.

use super::checks::Checker;

/// What a section is written as.
pub(super) trait Written: Default {
    /// Adds the live keys of the section at `path` to the list, those of the sections below it included.
    fn list_live(path: &str, live: &mut Vec<String>);
}

/// A section with its checks.
pub(super) trait Checked: Sized {
    /// What it is written as.
    type Written: Written;

    /// Applies the checks. The value is to be used only if there was no problem.
    fn read(check: &mut Checker<'_>, path: &str, written: &Self::Written) -> Self;
}

/// The path of a key or a section in the section at `path`.
pub(super) fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// Declares what a section is written as: its keys with their defaults, and the sections below it.
macro_rules! written {
    (
        $(#[$meta:meta])*
        $written:ident {
            $($key:ident = $default:expr $(, $live:ident)?;)*
        }
        $(below { $($below:ident: $below_written:ty;)* })?
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub(in crate::config) struct $written {
            $(pub $key: $crate::config::entry::Entry,)*
            $($(pub $below: $below_written,)*)?
        }

        impl Default for $written {
            fn default() -> Self {
                Self { $($key: $default.into(),)* $($($below: <$below_written>::default(),)*)? }
            }
        }

        impl $crate::config::section::Written for $written {
            #[allow(unused_variables)]
            fn list_live(path: &str, live: &mut Vec<String>) {
                #[allow(unused_imports)]
                use $crate::config::section::join;
                $($($crate::config::section::live!($live); live.push(join(path, stringify!($key)));)?)*
                $($(<$below_written as $crate::config::section::Written>::list_live(&join(path, stringify!($below)), live);)*)?
            }
        }
    };
}

/// The only word that may follow the check of a key.
macro_rules! live {
    (live) => {};
}

/// Declares a section. A key is `pub FIELD: TYPE = DEFAULT, CHECK(ALLOWED)`, with `, live` if a running engine takes another
/// value over; the check is a method of [`Section`](super::checks::Section).
///
/// - `sections`: a section below this one, and the function that reads it: `pub FIELD: TYPE, WRITTEN, FUNCTION;`
/// - `keys`: keys that have no field of their own: `KEY = DEFAULT;`
/// - `below`: sections that have no field of their own: `SECTION: WRITTEN;`
/// - `made_of_these`: fields that a function makes of what is written: `pub FIELD: TYPE, FUNCTION;`
macro_rules! section {
    (
        $(#[$meta:meta])*
        pub struct $name:ident, $written:ident {
            $($(#[$doc:meta])* pub $field:ident: $type:ty = $default:expr, $check:ident($($allowed:expr),*) $(, $live:ident)?;)*
        }
        $(sections { $($(#[$sub_doc:meta])* pub $sub:ident: $sub_type:ty, $sub_written:ty, $sub_read:path;)* })?
        $(keys { $($key:ident = $key_default:expr;)* })?
        $(below { $($below:ident: $below_written:ty;)* })?
        $(made_of_these { $($(#[$made_doc:meta])* pub $made:ident: $made_type:ty, $made_read:path;)* })?
    ) => {
        $crate::config::section::written! {
            /// As it is written.
            $written {
                $($field = $default $(, $live)?;)*
                $($($key = $key_default;)*)?
            }
            below {
                $($($sub: $sub_written;)*)?
                $($($below: $below_written;)*)?
            }
        }

        $(#[$meta])*
        pub struct $name {
            $($(#[$doc])* pub $field: $type,)*
            $($($(#[$sub_doc])* pub $sub: $sub_type,)*)?
            $($($(#[$made_doc])* pub $made: $made_type,)*)?
        }

        impl $crate::config::section::Checked for $name {
            type Written = $written;

            fn read(check: &mut $crate::config::checks::Checker<'_>, path: &str, written: &$written) -> Self {
                $($(let $sub = $sub_read(check, &$crate::config::section::join(path, stringify!($sub)), &written.$sub);)*)?
                $($(let $made = $made_read(check, path, written);)*)?
                #[allow(unused_variables, unused_mut)]
                let mut section = check.section(path);
                Self {
                    $($field: section.$check(stringify!($field), &written.$field $(, $allowed)*),)*
                    $($($sub,)*)?
                    $($($made,)*)?
                }
            }
        }
    };
}

pub(super) use {live, section, written};
