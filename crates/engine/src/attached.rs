//! What somebody who is attached to a container does to it.

use rctr_runtime::{AttachStream, WindowSize};

use crate::events::ContainerEvent;
use crate::{Engine, Error, Result};

impl Engine {
    /// Gives the terminal of the container with this id another size.
    ///
    /// # Errors
    /// The monitor cannot be told.
    pub fn resize_attached(
        &self,
        id: &str,
        stream: &mut AttachStream,
        size: WindowSize,
    ) -> Result<()> {
        stream.resize(size)?;
        self.tell_attached(id, ContainerEvent::Resize(size));
        Ok(())
    }

    /// Sends the container a signal that whoever is attached to it was sent, as [`Engine::kill`] does; one that has ended
    /// needs none.
    ///
    /// # Errors
    /// The monitor cannot be told.
    pub fn signal_attached(&self, id: &str, stream: &mut AttachStream, signal: i32) -> Result<()> {
        match self.kill(id, &signal.to_string()) {
            Ok(()) | Err(Error::NotRunning { .. } | Error::NoSuchContainer { .. }) => Ok(()),
            // The user wants it to end, even where that cannot be recorded.
            Err(error) => {
                tracing::warn!(container = id, signal, %error, "a signal is not told of");
                Ok(stream.signal(signal)?)
            }
        }
    }

    /// Tells that whoever was attached to the container has left it running.
    pub fn detached(&self, id: &str) {
        self.tell_attached(id, ContainerEvent::Detach);
    }

    fn tell_attached(&self, id: &str, event: ContainerEvent<'_>) {
        if let Ok(Some(container)) = self.record(id) {
            self.try_to_tell(&container, event);
        }
    }
}
