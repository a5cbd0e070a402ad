//! Processors' types that the daemon's binary has registered: documents that nobody applies, and that
//! are there as long as the binary is. They are kept by no store, so that each binary plans with what it
//! can run.

use crate::state::{Id, State};
use std::sync::Arc;
use tidemesh_model::{Error, ErrorKind, Result};
use tidemesh_plan::document::{self, Document, Kind, ProcessorSpec, Spec};

/// The documents of a binary's own types, one a name and version.
#[derive(Debug, Default)]
pub(crate) struct Builtin(Vec<Arc<Document>>);

impl Builtin {
    /// Reads `Processor` documents.
    ///
    /// # Errors
    ///
    /// `Config` for what is none.
    pub(crate) fn read(texts: &[String]) -> Result<Self> {
        let all = texts.iter().map(|text| document::parse(text)).collect::<Result<Vec<_>, _>>();
        let all = all.map_err(|problems| wrong(problems.to_string()))?.concat();
        match all.iter().find(|one| one.kind() != Kind::Processor) {
            Some(other) => Err(wrong(format!("{} is no processor", Id::of(other)))),
            None => Ok(Self(all.into_iter().map(Arc::new).collect())),
        }
    }

    /// All of them.
    pub(crate) fn documents(&self) -> &[Arc<Document>] {
        &self.0
    }

    /// The newest version of a name.
    pub(crate) fn newest(&self, id: &Id) -> Option<&Arc<Document>> {
        let named = self.0.iter().filter(|one| Id::of(one) == *id);
        named.max_by_key(|one| spec(one).map(|spec| spec.version))
    }

    /// These documents and the binary's own, which take the place of a same version: the binary runs
    /// what it declares, whatever somebody has applied.
    pub(crate) fn beside(
        &self,
        documents: impl IntoIterator<Item = Arc<Document>>,
    ) -> Vec<Arc<Document>> {
        let others = documents.into_iter().filter(|one| self.same(one).is_none());
        others.chain(self.0.iter().cloned()).collect()
    }

    /// Everything that is declared.
    pub(crate) fn beside_state(&self, state: &State) -> Vec<Arc<Document>> {
        self.beside(state.declared())
    }

    /// Whether somebody may apply a document: one that says something else than the binary would be of
    /// no effect.
    ///
    /// # Errors
    ///
    /// `Conflict`.
    pub(crate) fn allows(&self, document: &Document) -> Result<()> {
        match self.same(document) {
            Some(ours) if ours.spec != document.spec => {
                Err(owned(&Id::of(document)).help("give it another version, or leave it out"))
            }
            _ => Ok(()),
        }
    }

    /// The own document of the same name and version.
    fn same(&self, document: &Document) -> Option<&Arc<Document>> {
        let version = |of: &Document| spec(of).map(|spec| spec.version);
        let same = |ours: &&Arc<Document>| {
            Id::of(ours) == Id::of(document) && version(ours) == version(document)
        };
        self.0.iter().find(same)
    }
}

fn spec(document: &Document) -> Option<&ProcessorSpec> {
    match &document.spec {
        Spec::Processor(spec) => Some(spec),
        _ => None,
    }
}

/// Why what the binary brings is not changed by documents.
pub(crate) fn owned(id: &Id) -> Error {
    Error::new(ErrorKind::Conflict, "change a document")
        .because("the daemon's binary registers it")
        .with("document", id)
}

fn wrong(why: String) -> Error {
    Error::new(ErrorKind::Config, "read a registered processor's document").because(why)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(version: u64, kind: &str) -> String {
        let row = r#"{"type": "record", "name": "R", "fields": [{"name": "id", "type": "long"}]}"#;
        format!(
            "apiVersion: tidemesh/v1\nkind: Processor\nmetadata: {{name: score}}\nspec:\n  version: \
             {version}\n  inputs: [{{name: in, schema: {row}}}]\n  output: {{schema: {row}{kind}}}\n"
        )
    }

    fn document(text: &str) -> Arc<Document> {
        Arc::new(document::parse(text).unwrap().remove(0))
    }

    #[test]
    fn versions_stand_beside_each_other_and_the_binary_comes_before_documents() {
        let builtin = Builtin::read(&[text(1, ""), text(2, "")]).unwrap();
        let (other, same) = (document(&text(3, "")), document(&text(1, ", key: [id]")));
        let all = builtin.beside([other.clone(), same.clone()]);
        assert_eq!(all.len(), 3);
        let set: Vec<Document> = all.iter().map(|one| (**one).clone()).collect();
        document::check_together(&set).unwrap();
        assert!(all.contains(&other) && !all.contains(&same));
        let id = Id::of(&other);
        assert_eq!(builtin.newest(&id), Some(&document(&text(2, ""))));
        builtin.allows(&other).unwrap();
        builtin.allows(&document(&text(1, ""))).unwrap();
        assert_eq!(builtin.allows(&same).unwrap_err().kind(), ErrorKind::Conflict);
    }

    #[test]
    fn what_is_no_processor_is_refused() {
        let alien = "apiVersion: tidemesh/v1\nkind: Source\nmetadata: {name: s}\nspec:\n  pipeline: \
                     {name: p, sink: out}\n";
        for text in [alien, "no document"] {
            assert_eq!(Builtin::read(&[text.into()]).unwrap_err().kind(), ErrorKind::Config);
        }
    }
}
