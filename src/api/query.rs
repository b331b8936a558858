//! Query parameters as a client writes them.

/// The query parameters of one operation. The implementations are generated.
pub trait Query {
    /// The parameters that are given, in the document's order; those of lists are repeated.
    fn pairs(&self) -> Vec<(&'static str, String)>;
}

/// Adds a parameter if it is given.
pub(super) fn push<'a, C: ?Sized>(pairs: &mut Vec<(&'static str, String)>, name: &'static str, values: &'a C)
where
    &'a C: IntoIterator<Item: ToString>,
{
    pairs.extend(values.into_iter().map(|value| (name, value.to_string())));
}

#[cfg(test)]
mod tests {
    use super::super::*;
    use crate::model::RunStatus;

    #[test]
    fn only_what_is_given_is_written() {
        let status = vec![RunStatus::Failed, RunStatus::TimedOut];
        let since = "2026-03-29T01:00:00.000Z";
        let query = ListRunsQuery { status, since: since.parse().ok(), limit: Some(7), ..ListRunsQuery::default() };
        let pairs = [("status", "failed"), ("status", "timed_out"), ("since", since), ("limit", "7")];
        assert_eq!(query.pairs(), pairs.map(|(name, value)| (name, value.to_owned())));
        assert_eq!(ListSessionsQuery { archived: true, ..Default::default() }.pairs().len(), 1);
        assert!(ListSessionsQuery::default().pairs().is_empty());
    }
}
