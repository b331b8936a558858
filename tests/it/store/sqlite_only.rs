//! What only SQLite promises.
