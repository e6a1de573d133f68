//! A reference to a supervised actor that stays good across restarts.

use std::sync::Arc;

use actix::dev::ToEnvelope;
use actix::{Actor, Addr, Handler, Message};
use arc_swap::ArcSwapOption;

use crate::flow::credit::Credits;

/// Reaches whichever incarnation of an actor is alive, and holds the credits of the edge into it.
///
/// Take a credit first and put it into the message. A message sent while no incarnation is alive is dropped, like
/// those that were in a dead one's mailbox: what rides inside it (credits, tickets) must say so by its own drop.
#[derive(Debug)]
pub struct ActorRef<A: Actor> {
    current: Arc<ArcSwapOption<Addr<A>>>,
    credits: Credits,
}

impl<A: Actor> Clone for ActorRef<A> {
    fn clone(&self) -> Self {
        Self { current: Arc::clone(&self.current), credits: self.credits.clone() }
    }
}

impl<A: Actor> ActorRef<A> {
    /// Makes a reference to an actor that is still to be started, with this many credits on its edge.
    pub fn new(num_credits: u32) -> Self {
        Self { current: Arc::new(ArcSwapOption::empty()), credits: Credits::new(num_credits) }
    }

    /// The credits of the edge into the actor.
    pub fn credits(&self) -> &Credits {
        &self.credits
    }

    /// Points the reference to a new incarnation.
    pub fn point_to(&self, addr: Addr<A>) {
        self.current.store(Some(Arc::new(addr)));
    }

    /// The incarnation that is alive right now, for a request whose answer is awaited.
    pub fn current(&self) -> Option<Addr<A>> {
        self.current.load().as_ref().map(|addr| Addr::clone(addr)).filter(Addr::connected)
    }

    /// Whether an incarnation is alive right now.
    pub fn is_up(&self) -> bool {
        self.current.load().as_ref().is_some_and(|addr| addr.connected())
    }

    /// Sends a message; see the type for what happens when no incarnation is alive.
    pub fn send<M>(&self, message: M)
    where
        M: Message + Send + 'static,
        M::Result: Send,
        A: Handler<M>,
        A::Context: ToEnvelope<A, M>,
    {
        if let Some(addr) = self.current.load().as_ref() {
            // The bound is the credit inside the message, which actix's own capacity would only get in the way of.
            addr.do_send(message);
        }
    }
}
