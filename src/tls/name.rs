//! Whose certificate it is: the names in a certificate that has been verified.

use rustls::pki_types::CertificateDer;
use webpki::EndEntityCert;

/// Where a certificate has the name of its holder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameIn {
    /// A DNS name among the subject's alternative names.
    Dns,
    /// A URI among the subject's alternative names, taken as a whole.
    Uri,
    /// The common name of the subject.
    CommonName,
}

/// The contents of the object identifier 2.5.4.3, `commonName`.
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];

const TAG_OBJECT_IDENTIFIER: u8 = 0x06;
const TAG_SEQUENCE: u8 = 0x30;
const TAG_SET: u8 = 0x31;
/// `UTF8String` and `PrintableString`; the other kinds of text have long been out of use.
const TEXT_TAGS: [u8; 2] = [0x0c, 0x13];

// === impl NameIn ===

impl NameIn {
    /// Whether the certificate, in DER, is that of `name`. A certificate may have several names, and holds for each.
    pub fn is_named(self, certificate: &[u8], name: &str) -> bool {
        let der = CertificateDer::from(certificate);
        let Ok(certificate) = EndEntityCert::try_from(&der) else { return false };
        match self {
            Self::Dns => certificate.valid_dns_names().any(|known| known == name),
            Self::Uri => certificate.valid_uri_names().any(|known| known == name),
            Self::CommonName => common_name(certificate.subject()).is_some_and(|known| known == name.as_bytes()),
        }
    }
}

/// The last common name of a subject, which is the most specific one; `subject` is what its sequence holds.
fn common_name(mut subject: &[u8]) -> Option<&[u8]> {
    let mut name = None;
    while !subject.is_empty() {
        let (mut attributes, rest) = element(subject, &[TAG_SET])?;
        subject = rest;
        while !attributes.is_empty() {
            let (attribute, rest) = element(attributes, &[TAG_SEQUENCE])?;
            attributes = rest;
            let (kind, value) = element(attribute, &[TAG_OBJECT_IDENTIFIER])?;
            if kind == COMMON_NAME {
                name = Some(element(value, &TEXT_TAGS)?.0);
            }
        }
    }
    name
}

/// The contents of the DER element at the front, if it has one of these tags, and what follows it.
fn element<'a>(der: &'a [u8], tags: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let (tag, der) = der.split_first()?;
    let (length, der) = der.split_first()?;
    let (length, der) = match length {
        // One or two bytes of length are enough for any name.
        0..=0x7f => (usize::from(*length), der),
        0x81 => der.split_first().map(|(length, der)| (usize::from(*length), der))?,
        0x82 => der.split_first_chunk::<2>().map(|(length, der)| (usize::from(u16::from_be_bytes(*length)), der))?,
        _ => return None,
    };
    (tags.contains(tag) && length <= der.len()).then(|| der.split_at(length))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    use super::*;

    fn certificate(common_names: &[&str], sans: Vec<SanType>) -> Vec<u8> {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, "fleet");
        for name in common_names {
            params.distinguished_name.push(DnType::CommonName, *name);
        }
        params.subject_alt_names = sans;
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[test]
    fn test_names_are_found_where_they_are_looked_for() {
        let uri = "urn:dev:mac:0024befffe804ff1";
        let sans = vec![
            SanType::DnsName("truck-1".try_into().unwrap()),
            SanType::DnsName("truck-1b".try_into().unwrap()),
            SanType::URI(uri.try_into().unwrap()),
        ];
        let long = "x".repeat(200);
        let der = certificate(&["Löffel/7"], sans);
        let cases = [
            (NameIn::Dns, "truck-1", true),
            (NameIn::Dns, "truck-1b", true),
            (NameIn::Dns, "truck", false),
            (NameIn::Dns, uri, false),
            (NameIn::Dns, "Löffel/7", false),
            (NameIn::Uri, uri, true),
            (NameIn::Uri, "urn:dev", false),
            (NameIn::Uri, "truck-1", false),
            (NameIn::CommonName, "Löffel/7", true),
            (NameIn::CommonName, "fleet", false),
            (NameIn::CommonName, "truck-1", false),
            (NameIn::CommonName, "", false),
        ];
        for (name_in, name, expected) in cases {
            assert_eq!(name_in.is_named(&der, name), expected, "{name_in:?} {name}");
        }
        assert!(NameIn::CommonName.is_named(&certificate(&[&long], vec![]), &long), "a length of two bytes");
        let nameless = certificate(&[], vec![]);
        for name_in in [NameIn::Dns, NameIn::Uri, NameIn::CommonName] {
            assert!(!name_in.is_named(&nameless, "fleet") && !name_in.is_named(&nameless, ""), "{name_in:?}");
        }
    }

    proptest! {
        #[test]
        fn test_arbitrary_bytes_have_no_name_and_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = common_name(&bytes);
            for name_in in [NameIn::Dns, NameIn::Uri, NameIn::CommonName] {
                prop_assert!(!name_in.is_named(&bytes, "x"));
            }
        }
    }
}
