//! The layout of one version of a type, compiled: what packs, unpacks and transcodes its bodies.

use std::sync::Arc;

use super::bit_io::{BitReader, BitWriter};
use super::body_error::{BodyError, EncodeError, FieldFault};
use super::compile::{Compiled, compile};
use super::encode::Encoder;
use super::{decode, transcode};
use crate::codec::avro::single_object::{Fingerprint, HEADER_LEN, header};
use crate::codec::avro::sink::write_identity;
use crate::protocol::message::Identity;
use crate::schema::{Field, RecordShape, TypeVersion, Value, Version};

/// The layout of one version of a type.
#[derive(Debug)]
pub struct Layout {
    version: Version,
    fields: Arc<[Field]>,
    plan: Compiled,
    avro_header: [u8; HEADER_LEN],
}

// === impl Layout ===

impl Layout {
    /// Compiles a version for records of the shape that all versions share.
    pub(crate) fn new(version: &TypeVersion, record: &RecordShape, fingerprint: Fingerprint) -> Layout {
        let plan = compile(&version.fields, record);
        let fields = Arc::clone(&version.fields);
        Layout { version: version.number, fields, plan, avro_header: header(fingerprint) }
    }

    /// The version.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The declared fields, in the order of the bits.
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// The longest body, in bytes.
    pub fn max_body_len(&self) -> usize {
        self.fields.iter().map(Field::max_bits).sum::<u64>().div_ceil(8) as usize
    }

    /// Appends the message as an Avro single-object record to `out`; on an error `out` is as it was.
    pub fn transcode(&self, identity: &Identity<'_>, body: &[u8], out: &mut Vec<u8>) -> Result<(), BodyError> {
        let start = out.len();
        out.extend_from_slice(&self.avro_header);
        write_identity(identity, out);
        let mut reader = BitReader::new(body);
        let result = transcode::write_body(&self.plan.ops, &mut reader, out);
        let result = self.finish(result, &reader);
        if result.is_err() {
            out.truncate(start);
        }
        result
    }

    /// The values of a body, as a [`Value::Group`].
    pub fn decode(&self, body: &[u8]) -> Result<Value, BodyError> {
        let mut reader = BitReader::new(body);
        let mut values = Vec::with_capacity(self.fields.len());
        let result = decode::read_values(&self.plan.ops, &mut reader, &mut values);
        self.finish(result, &reader)?;
        Ok(Value::Group(values))
    }

    /// Appends the body that `value`, a [`Value::Group`], packs to; on an error `out` is as it was.
    pub fn encode(&self, value: &Value, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let Value::Group(values) = value else {
            return Err(EncodeError::WrongKind { field: Arc::default(), expected: "a group" });
        };
        self.encode_fields(values, out)
    }

    /// As [`Layout::encode`], for values without a group around them.
    pub fn encode_fields(&self, values: &[Value], out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let expected = self.fields.iter().filter(|field| !field.kind.is_reserved()).count();
        if values.len() != expected {
            return Err(EncodeError::WrongNumber { field: Arc::default(), found: values.len(), expected });
        }
        let start = out.len();
        let mut encoder = Encoder { writer: BitWriter::new(out), paths: &self.plan.paths };
        let result = encoder.write(&self.plan.ops, &mut values.iter());
        if result.is_err() {
            out.truncate(start);
        }
        result
    }

    /// Gives a fault its field's name, and refuses what is left of the body beyond padding.
    fn finish(&self, result: Result<(), FieldFault>, reader: &BitReader<'_>) -> Result<(), BodyError> {
        result.map_err(|fault| BodyError::from_fault(fault, &self.plan.paths))?;
        match reader.num_left() {
            0..8 => Ok(()),
            num_bits => Err(BodyError::TrailingBytes { num_bits }),
        }
    }
}
