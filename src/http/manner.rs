//! How a client wants to be told what we have to say.

use crate::engine::route::Form;
use crate::page::Lang;

/// How a client wants to be answered by us.
#[derive(Clone, Copy, Debug)]
pub(super) struct Manner {
    /// In what form.
    pub(super) form: Form,
    /// In which language.
    pub(super) lang: Lang,
}

impl Manner {
    /// The same in another form.
    pub(super) fn in_form(self, form: Form) -> Manner {
        Manner { form, ..self }
    }
}
