//! The sender's side of an actor's mailbox, without the actor: for layers below the one that the actor belongs to.

use actix::dev::ToEnvelope;
use actix::{Actor, Handler, Message};

use super::ActorRef;
use crate::flow::credit::Credits;

/// Takes messages of one kind for an actor, across its restarts.
pub trait Mailbox<M>: Send + Sync {
    /// Sends a message, which holds a credit of this mailbox. With no live actor the message is dropped, see [`ActorRef`].
    fn send(&self, message: M);

    /// The credits that bound what is queued and in flight.
    fn credits(&self) -> &Credits;
}

impl<A, M> Mailbox<M> for ActorRef<A>
where
    M: Message + Send + 'static,
    M::Result: Send,
    A: Actor + Handler<M>,
    A::Context: ToEnvelope<A, M>,
{
    fn send(&self, message: M) {
        Self::send(self, message);
    }

    fn credits(&self) -> &Credits {
        Self::credits(self)
    }
}
