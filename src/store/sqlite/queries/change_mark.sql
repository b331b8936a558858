-- On the connection of the writer: changes exactly when another connection has committed, and everything
-- this process writes goes through that one connection.
PRAGMA data_version;
