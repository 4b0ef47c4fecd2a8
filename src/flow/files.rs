//! Writes down what happens to files in an sftp session, before it happens. What is refused is written down like other
//! refusals: of a flood a few, and how many more there were.

use super::desk::lock;
use super::session::SessionError;
use crate::app::App;
use crate::audit::AuditEvent;
use crate::ids::{SessionId, SignInId};
use crate::inspect::sftp::Note;
use crate::recording::event::Event;

/// All of `notes` in their order, in one transaction, and then in the session's recording; nothing for none.
pub async fn write_down(
    app: &App,
    session: &SessionId,
    sign_in: &SignInId,
    notes: Vec<Note>,
) -> Result<(), SessionError> {
    let now = app.clock.now();
    let kept = notes.into_iter().filter_map(|note| match note {
        Note::Operation { allowed: false, op, path, second, rule } => {
            let more = lock(&app.desk.file_denials).take(sign_in, now)?;
            let rule = if more > 0 { format!("{rule} ({more} more were refused before)") } else { rule };
            Some(Note::Operation { allowed: false, op, path, second, rule })
        }
        note @ (Note::Operation { .. } | Note::Transferred { .. }) => Some(note),
    });
    let (events, lines): (Vec<AuditEvent>, Vec<Event>) =
        kept.map(|note| (event(session, note.clone()), line(note))).unzip();
    if events.is_empty() {
        return Ok(());
    }
    app.store.note_all(now, events).await?;
    lines.into_iter().try_for_each(|line| app.recordings.event(session, line))?;
    Ok(())
}

/// What stands in the recording.
fn line(note: Note) -> Event {
    match note {
        Note::Operation { op, path, second, allowed, rule } => {
            Event::File { op: op.to_owned(), path, second, allowed, rule }
        }
        Note::Transferred { path, way, bytes, sha256 } => {
            Event::Transfer { path, direction: way.as_str().to_owned(), bytes, sha256 }
        }
    }
}

fn event(session: &SessionId, note: Note) -> AuditEvent {
    let session = session.clone();
    match note {
        Note::Operation { op, path, second, allowed, rule } => {
            AuditEvent::FileOperation { session, op, path, second, allowed, rule }
        }
        Note::Transferred { path, way, bytes, sha256 } => {
            AuditEvent::FileTransferred { session, path, direction: way.as_str(), bytes, sha256 }
        }
    }
}
