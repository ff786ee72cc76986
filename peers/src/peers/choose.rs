//! From a peer's name to its type.

/// Evaluates `$body` with `$peer` as the type of the peer called `$name`.
macro_rules! with_peer {
    ($name:expr, $peer:ident => $body:expr) => {
        match $name {
            "onceward" => {
                type $peer = $crate::peers::Ours;
                $body
            }
            "redb" => {
                type $peer = $crate::peers::Redb;
                $body
            }
            "redb-quick" => {
                type $peer = $crate::peers::RedbQuick;
                $body
            }
            "lmdb" => {
                type $peer = $crate::peers::Lmdb;
                $body
            }
            "fjall" => {
                type $peer = $crate::peers::Fjall;
                $body
            }
            #[cfg(feature = "rocksdb")]
            "rocksdb" => {
                type $peer = $crate::peers::Rocks;
                $body
            }
            #[cfg(feature = "rocksdb")]
            "rocksdb-batched" => {
                type $peer = $crate::peers::RocksBatched;
                $body
            }
            "sqlite" => {
                type $peer = $crate::peers::Sqlite;
                $body
            }
            "redis" => {
                type $peer = $crate::peers::Redis;
                $body
            }
            "postgres" => {
                type $peer = $crate::peers::Postgres;
                $body
            }
            "postgres-batched" => {
                type $peer = $crate::peers::PostgresBatched;
                $body
            }
            other => panic!("there is no peer called {other}"),
        }
    };
}
