//! What the devices know: the identity of every message that the server took over, turned away, or left open.
//!
//! Compared with what the store holds, by identity and not by count: a lost row and a foreign row do not cancel.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::Path;

use crate::protocol::message::MessageHeader;
use crate::schema::TypeId;

const MAGIC: [u8; 8] = *b"SRGTLDG1";

/// What identifies a message of one device. Sixteen bytes in memory, twelve in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LedgerEntry {
    /// Event time in milliseconds since the Unix epoch.
    pub event_time_ms: u64,
    /// The device's sequence number.
    pub sequence: u32,
    /// The message's type; its rows are in the table of that name.
    pub type_id: TypeId,
}

/// The messages of one device that were sent at least once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeviceLedger {
    /// The device.
    pub device_id: String,
    /// Accepted, or known to be there already: durable by the server's word.
    pub acked: Vec<LedgerEntry>,
    /// Turned away for good.
    pub rejected: Vec<LedgerEntry>,
    /// Sent, but neither of the two: may or may not be stored.
    pub open: Vec<LedgerEntry>,
}

/// The messages of all devices of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ledger {
    /// One for each device that sent anything.
    pub devices: Vec<DeviceLedger>,
}

// === impl LedgerEntry ===

impl From<&MessageHeader> for LedgerEntry {
    fn from(header: &MessageHeader) -> Self {
        Self { event_time_ms: header.event_time_ms, sequence: header.sequence, type_id: header.type_id }
    }
}

impl LedgerEntry {
    fn write(&self, out: &mut impl Write) -> io::Result<()> {
        out.write_all(&self.type_id.to_be_bytes())?;
        out.write_all(&self.sequence.to_be_bytes())?;
        // The wire has 48 bits for it.
        out.write_all(&self.event_time_ms.to_be_bytes()[2..])
    }

    fn read(input: &mut impl Read) -> io::Result<Self> {
        let type_id = TypeId::from_be_bytes(read_array(input)?);
        let sequence = u32::from_be_bytes(read_array(input)?);
        let mut event_time = [0; 8];
        input.read_exact(&mut event_time[2..])?;
        Ok(Self { event_time_ms: u64::from_be_bytes(event_time), sequence, type_id })
    }
}

// === impl Ledger ===

impl Ledger {
    /// How many messages were acknowledged.
    pub fn num_acked(&self) -> usize {
        self.devices.iter().map(|device| device.acked.len()).sum()
    }

    /// Writes the ledger as a compact binary file.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let mut out = BufWriter::new(File::create(path)?);
        out.write_all(&MAGIC)?;
        out.write_all(&(self.devices.len() as u64).to_be_bytes())?;
        for device in &self.devices {
            out.write_all(&(device.device_id.len() as u64).to_be_bytes())?;
            out.write_all(device.device_id.as_bytes())?;
            for entries in [&device.acked, &device.rejected, &device.open] {
                out.write_all(&(entries.len() as u64).to_be_bytes())?;
                for entry in entries {
                    entry.write(&mut out)?;
                }
            }
        }
        out.into_inner()?.sync_all()
    }

    /// Reads what [`Self::write`] wrote.
    pub fn read(path: &Path) -> io::Result<Self> {
        let mut input = BufReader::new(File::open(path)?);
        if read_array(&mut input)? != MAGIC {
            return Err(invalid("not a ledger"));
        }
        let num_devices = u64::from_be_bytes(read_array(&mut input)?);
        let mut devices = Vec::new();
        for _ in 0..num_devices {
            let device_id_len = u64::from_be_bytes(read_array(&mut input)?);
            let mut device_id = Vec::new();
            input.by_ref().take(device_id_len).read_to_end(&mut device_id)?;
            let device_id = String::from_utf8(device_id).map_err(|_| invalid("device id is not UTF-8"))?;
            devices.push(DeviceLedger {
                device_id,
                acked: read_entries(&mut input)?,
                rejected: read_entries(&mut input)?,
                open: read_entries(&mut input)?,
            });
        }
        Ok(Self { devices })
    }
}

/// Grows with what is there, not with what the count claims: the file may be damaged.
fn read_entries(input: &mut impl Read) -> io::Result<Vec<LedgerEntry>> {
    let count = u64::from_be_bytes(read_array(input)?);
    let mut entries = Vec::new();
    for _ in 0..count {
        entries.push(LedgerEntry::read(input)?);
    }
    entries.shrink_to_fit();
    Ok(entries)
}

fn read_array<const N: usize>(input: &mut impl Read) -> io::Result<[u8; N]> {
    let mut array = [0; N];
    input.read_exact(&mut array)?;
    Ok(array)
}

fn invalid(message: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_ledger_round_trips_through_a_file() -> io::Result<()> {
        let entry = |n: u32| LedgerEntry { event_time_ms: (1 << 48) - 1 - u64::from(n), sequence: n, type_id: 7 };
        let ledger = Ledger {
            devices: vec![
                DeviceLedger {
                    device_id: "truck-1".to_owned(),
                    acked: vec![entry(1), entry(u32::MAX)],
                    rejected: vec![],
                    open: vec![entry(3)],
                },
                DeviceLedger::default(),
            ],
        };
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("ledger");
        ledger.write(&path)?;
        assert_eq!(Ledger::read(&path)?, ledger);

        let whole = std::fs::read(&path)?;
        std::fs::write(&path, &whole[..whole.len() - 1])?;
        assert!(Ledger::read(&path).is_err());
        std::fs::write(&path, b"SRGTLDG0")?;
        assert_eq!(Ledger::read(&path).unwrap_err().kind(), io::ErrorKind::InvalidData);
        Ok(())
    }

    #[test]
    fn test_ledger_entry_is_small() {
        assert_eq!(size_of::<LedgerEntry>(), 16);
    }
}
