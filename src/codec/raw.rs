//! Records that are bytes and nothing else: the value as a whole is all there is to read.

use super::value::{Extract, Path, Unreadable, Value};

/// Reads the one value of a raw record, `$`; any other path leads to [`Value::Absent`].
#[derive(Debug)]
pub struct RawExtract {
    /// For each path whether it is `$`.
    is_whole: Vec<bool>,
}

// === impl RawExtract ===

impl RawExtract {
    /// For the values at these paths.
    pub fn new(paths: &[Path]) -> Self {
        Self { is_whole: paths.iter().map(|path| path.steps.is_empty()).collect() }
    }
}

impl Extract for RawExtract {
    fn extract<'a>(&mut self, record: &'a [u8], values: &mut Vec<Value<'a>>) -> Result<(), Unreadable> {
        values.clear();
        values.extend(self.is_whole.iter().map(|is_whole| match is_whole {
            true => Value::Bytes(record),
            false => Value::Absent,
        }));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::value::PathStep;

    #[test]
    fn test_the_record_as_a_whole_is_its_bytes() {
        let member = Path { steps: vec![PathStep::Member("a".into())] };
        let mut extract = RawExtract::new(&[member, Path::default()]);
        let mut values = vec![Value::Null; 5];
        for record in [&b"\xff\x00{"[..], b""] {
            extract.extract(record, &mut values).unwrap();
            assert_eq!(values, [Value::Absent, Value::Bytes(record)]);
        }
    }
}
