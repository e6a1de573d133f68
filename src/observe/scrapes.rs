//! Answers to scrapes. All that wait at the same moment share one exposition: writing it is what takes time, and the
//! operators' HTTP has one thread, whose health checks are not to wait for each of them.

use std::time::{Duration, Instant};

use actix_web::web::Bytes;
use parking_lot::Mutex;

use super::metrics::{Exposition, Format};

/// How long a scrape waits for others. Whatever else can be done is done first: health checks are answered, and requests are
/// read that have arrived while the last text was made. Yielding would not do, since that does not look at the sockets.
const PATIENCE: Duration = Duration::from_millis(1);

/// The metrics of an engine, for any number of scrapes at once.
pub(super) struct Scrapes {
    exposition: Exposition,
    open_metrics: Shared,
    classic: Shared,
}

/// The last text, and when its making began.
#[derive(Default)]
struct Shared(Mutex<Option<(Instant, Bytes)>>);

// === impl Scrapes ===

impl Scrapes {
    pub(super) fn new(exposition: Exposition) -> Self {
        Self { exposition, open_metrics: Shared::default(), classic: Shared::default() }
    }

    /// All metrics, as they are at some moment after this was called.
    pub(super) async fn answer(&self, format: Format) -> Result<Bytes, std::fmt::Error> {
        let shared = match format {
            Format::OpenMetrics => &self.open_metrics,
            Format::Classic => &self.classic,
        };
        let asked = Instant::now();
        tokio::time::sleep(PATIENCE).await;
        shared.made_since(asked, || {
            let mut body = String::new();
            self.exposition.write(format, &mut body)?;
            Ok(body.into())
        })
    }
}

// === impl Shared ===

impl Shared {
    /// A text whose making began after `asked`: the last one, or a new one.
    fn made_since<E>(&self, asked: Instant, make: impl FnOnce() -> Result<Bytes, E>) -> Result<Bytes, E> {
        let mut latest = self.0.lock();
        if let Some((begun, text)) = &*latest
            && *begun >= asked
        {
            return Ok(text.clone());
        }
        let begun = Instant::now();
        // Not kept while the next one is made.
        *latest = None;
        let text = make()?;
        *latest = Some((begun, text.clone()));
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::convert::Infallible;

    use super::*;

    #[test]
    fn test_who_asked_before_a_text_was_made_shares_it_and_who_asks_later_gets_another() {
        let (shared, made) = (Shared::default(), Cell::new(0));
        let ask = |asked| {
            let make = || {
                made.set(made.get() + 1);
                Ok::<_, Infallible>(Bytes::from(made.get().to_string()))
            };
            shared.made_since(asked, make).unwrap()
        };
        let before = Instant::now();
        assert_eq!((ask(before), ask(before)), ("1".into(), "1".into()));
        assert_eq!(ask(Instant::now() + Duration::from_millis(1)), "2");
        assert_eq!((ask(before), made.get()), ("2".into(), 2));
    }

    #[test]
    fn test_what_cannot_be_made_is_told_and_tried_again() {
        let shared = Shared::default();
        let asked = Instant::now();
        assert_eq!(shared.made_since(asked, || Err("no")), Err("no"));
        assert_eq!(shared.made_since(asked, || Ok::<_, &str>("yes".into())), Ok("yes".into()));
    }
}
