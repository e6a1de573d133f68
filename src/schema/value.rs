//! Values of a message as a tree: for tests, the simulator and tools. The data path never builds one.

use std::sync::Arc;

/// A value of a field.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// An absent optional field.
    Null,
    /// For `bool`.
    Bool(bool),
    /// For `uint`. Packing takes [`Value::Int`] too, where it fits.
    Uint(u64),
    /// For `int`. Packing takes [`Value::Uint`] too, where it fits.
    Int(i64),
    /// For `f32`.
    Float(f32),
    /// For `f64`, and the physical value for `fixed`.
    Double(f64),
    /// For `enum`.
    Symbol(Arc<str>),
    /// For `timestamp`, since the Unix epoch: microseconds for resolution `us`, otherwise milliseconds.
    Timestamp(i64),
    /// For `bytes`.
    Bytes(Vec<u8>),
    /// For `text`.
    Text(String),
    /// For `group`, and for a whole message: values in the order of the fields, reserved bits left out.
    Group(Vec<Value>),
    /// For `array`.
    Array(Vec<Value>),
}
