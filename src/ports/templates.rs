//! Templates: rendering and writing their files.

use domain::Ticket;
use domain::effect::{Rendering, Writing};

/// Renders templates and writes their files without waiting for either.
#[cfg_attr(test, mockall::automock)]
pub trait Templates {
    /// Renders a template with what is known, and the present environment and files. The result always arrives in the
    /// inbox as [`domain::Event::Rendered`] under `ticket`, within a time limit.
    fn render(&mut self, ticket: Ticket, rendering: Rendering);

    /// Writes a file, so that a reader sees the old contents or the new ones, never a part of them; one that has these
    /// contents already is not touched. Files are written in the order of the calls. The result always arrives in the
    /// inbox as [`domain::Event::Written`] under `ticket`, within a time limit; after that nothing is written any more,
    /// except what had begun.
    fn write(&mut self, ticket: Ticket, writing: Writing);
}
