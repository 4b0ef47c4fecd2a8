//! Where a session lies in an archive. The database says where its recording is, and whoever can write there must not choose
//! what is read, overwritten or deleted in the archive: only the one shape that the recorder gives is taken, of that session.

use super::ArchiveError;
use crate::ids::SessionId;

/// `YYYY/MM/DD/SESSION`: below this lie the objects of this session, and of no other. Nothing else can be put, read or
/// deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base(String);

impl Base {
    /// From where the session's recording is among the recordings: a folder, or, for those of before there were folders, the
    /// same with `.cast` behind it.
    ///
    /// Errors: it is anything but that; or it is of another session.
    pub fn of(recording: &str, session: &SessionId) -> Result<Self, ArchiveError> {
        let base = recording.strip_suffix(".cast").unwrap_or(recording);
        let number =
            |text: &str, length: usize| text.len() == length && text.bytes().all(|b| b.is_ascii_digit());
        match base.split('/').collect::<Vec<_>>().as_slice() {
            [year, month, day, id]
                if number(year, 4) && number(month, 2) && number(day, 2) && *id == session.as_str() =>
            {
                Ok(Self(base.to_owned()))
            }
            _ => Err(ArchiveError::NoBase(session.clone())),
        }
    }

    /// The name of one of its objects.
    pub(super) fn object(&self, name: &str) -> String {
        format!("{}/{name}", self.0)
    }

    /// The name of all of them.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_shape_of_one_session() {
        let id = "ses_00000000000000000000000000";
        let session: SessionId = id.parse().unwrap();
        let good = format!("2027/01/15/{id}");
        assert_eq!(Base::of(&good, &session).unwrap().as_str(), good);
        assert_eq!(Base::of(&format!("{good}.cast"), &session).unwrap().as_str(), good);
        for bad in [
            "",
            ".",
            "..",
            "/",
            "/x",
            ".cast",
            "2027",
            "2027/01/15",
            "2027/01/15/",
            "2027/01/15/ses_00000000000000000000000001",
            id,
            &format!("/{good}"),
            &format!("{good}/"),
            &format!("{good}/0001.cast"),
            &format!("{good}.cast.cast"),
            &format!("{good}\0"),
            &format!("x/{good}"),
            &format!("2027/01/../{id}"),
            &format!("2027/01//{id}"),
            &format!("2027//15/{id}"),
            &format!("027/01/15/{id}"),
            &format!("2027/1/15/{id}"),
            &format!("2027/-1/15/{id}"),
            &format!("../../../{id}"),
        ] {
            assert!(Base::of(bad, &session).is_err(), "{bad:?}");
        }
    }
}
