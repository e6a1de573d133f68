//! The ids that the brokers give to topics: a topic that is deleted and made again has the same name and another id.
//!
//! Offsets alone do not show it: a new topic that soon has as many records as the old one looks as if nothing had
//! happened, and everything before that offset would never be read.

use std::collections::HashMap;
use std::ffi::{CStr, CString, c_char};
use std::time::Duration;

use rdkafka::bindings;
use rdkafka::client::{Client, ClientContext};
use rdkafka::types::RDKafkaRespErr;

/// A topic's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TopicId(i64, i64);

/// What the brokers say of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    /// It is there, with this id.
    Id(TopicId),
    /// This client may not describe it: it may be there or not.
    Refused,
}

/// Asks the brokers. Blocks for up to `timeout`. Topics that do not exist are left out; so are all of brokers that know no
/// ids. `None` if nobody answers.
#[expect(unsafe_code)]
pub(super) fn ask<C: ClientContext>(
    client: &Client<C>,
    topics: &[String],
    timeout: Duration,
) -> Option<HashMap<String, Told>> {
    let names = topics.iter().map(|topic| CString::new(topic.as_str())).collect::<Result<Vec<_>, _>>().ok()?;
    let mut pointers: Vec<*const c_char> = names.iter().map(|name| name.as_ptr()).collect();
    let timeout_ms = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
    // rdkafka has no call for this one.
    // SAFETY: the client's handle lives as long as `client` and may be used by any thread. The names live until the end of
    // this function, and librdkafka copies them. Whatever is made here is given back here, once, after its last use; what
    // a result points to is read before its event is given back, and librdkafka keeps what the request needs beyond.
    unsafe {
        let handle = client.native_ptr();
        let queue = bindings::rd_kafka_queue_new(handle);
        let operation = bindings::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS;
        let options = bindings::rd_kafka_AdminOptions_new(handle, operation);
        bindings::rd_kafka_AdminOptions_set_request_timeout(options, timeout_ms, std::ptr::null_mut(), 0);
        let collection = bindings::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len());
        bindings::rd_kafka_DescribeTopics(handle, collection, options, queue);
        let event = bindings::rd_kafka_queue_poll(queue, timeout_ms);
        let ids = if event.is_null() { None } else { read(event) };
        if !event.is_null() {
            bindings::rd_kafka_event_destroy(event);
        }
        bindings::rd_kafka_TopicCollection_destroy(collection);
        bindings::rd_kafka_AdminOptions_destroy(options);
        bindings::rd_kafka_queue_destroy(queue);
        ids
    }
}

/// The event has to be one, and alive.
#[expect(unsafe_code)]
unsafe fn read(event: *mut bindings::rd_kafka_event_t) -> Option<HashMap<String, Told>> {
    // SAFETY: all pointers below are checked where librdkafka may return none, and belong to the event.
    unsafe {
        if bindings::rd_kafka_event_error(event) != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
            return None;
        }
        let result = bindings::rd_kafka_event_DescribeTopics_result(event);
        if result.is_null() {
            return None;
        }
        let mut count = 0;
        let descriptions = bindings::rd_kafka_DescribeTopics_result_topics(result, &raw mut count);
        let mut ids = HashMap::new();
        for index in 0..count {
            let description = *descriptions.add(index);
            let error = bindings::rd_kafka_TopicDescription_error(description);
            let code = match error.is_null() {
                true => RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR,
                false => bindings::rd_kafka_error_code(error),
            };
            let name = || CStr::from_ptr(bindings::rd_kafka_TopicDescription_name(description));
            if code == RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED {
                ids.insert(name().to_string_lossy().into_owned(), Told::Refused);
            }
            if code != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
                continue;
            }
            let id = bindings::rd_kafka_TopicDescription_topic_id(description);
            let id = TopicId(
                bindings::rd_kafka_Uuid_most_significant_bits(id),
                bindings::rd_kafka_Uuid_least_significant_bits(id),
            );
            if id != TopicId(0, 0) {
                ids.insert(name().to_string_lossy().into_owned(), Told::Id(id));
            }
        }
        Some(ids)
    }
}

#[cfg(test)]
impl TopicId {
    /// Some id.
    pub(super) fn test(number: i64) -> Self {
        Self(number, number)
    }
}

#[cfg(test)]
impl Told {
    /// Some id.
    pub(super) fn test(number: i64) -> Self {
        Self::Id(TopicId::test(number))
    }
}
