//! Experiments in the store: what was started, when, and which arms were shown.

use rusqlite::OptionalExtension;

use super::{Store, StoreError};

/// An experiment as it was started. Its definition stays what it was then, whatever the
/// configuration says later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredExperiment {
    pub name: String,
    /// JSON of `experiment::Definition`.
    pub definition: String,
    /// Milliseconds since 1970.
    pub started: i64,
    pub stopped: Option<i64>,
}

/// An arm that a session met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exposure {
    pub arms: String,
    pub session: i64,
    pub at: i64,
}

impl Store {
    /// Starts an experiment. Errors: one of that name was started before and has rows of its own.
    pub fn start_experiment(
        &mut self,
        name: &str,
        definition: &str,
        at: i64,
    ) -> Result<(), StoreError> {
        if let Some(old) = self.experiment(name)? {
            let state = if old.stopped.is_some() { "was run before" } else { "is running" };
            return Err(StoreError::Experiment(format!(
                "experiment {name} {state}: give the new one another name"
            )));
        }
        let sql = "INSERT INTO experiment VALUES (?1, ?2, ?3, NULL)";
        self.connection.execute(sql, (name, definition, at)).map_err(|e| self.error(e))?;
        Ok(())
    }

    /// Stops it; its rows stay. Returns whether it was running.
    pub fn stop_experiment(&mut self, name: &str, at: i64) -> Result<bool, StoreError> {
        let sql = "UPDATE experiment SET stopped = ?2 WHERE name = ?1 AND stopped IS NULL";
        Ok(self.connection.execute(sql, (name, at)).map_err(|e| self.error(e))? == 1)
    }

    pub fn experiment(&self, name: &str) -> Result<Option<StoredExperiment>, StoreError> {
        let sql = "SELECT name, definition, started, stopped FROM experiment WHERE name = ?1";
        self.connection.query_row(sql, [name], experiment).optional().map_err(|e| self.error(e))
    }

    pub fn experiments(&self) -> Result<Vec<StoredExperiment>, StoreError> {
        let sql =
            "SELECT name, definition, started, stopped FROM experiment ORDER BY started, name";
        let run = || {
            self.connection
                .prepare_cached(sql)?
                .query_map([], experiment)?
                .collect::<rusqlite::Result<Vec<_>>>()
        };
        self.strides.allow(super::open::SMALL);
        let read = run().map_err(|e| self.error(e));
        self.strides.allow(i64::MAX);
        read
    }

    pub fn exposures(&self) -> Result<Vec<Exposure>, StoreError> {
        let sql = "SELECT name.text, exposure.session, exposure.at FROM exposure JOIN name ON name.id = exposure.arms ORDER BY 3, 1";
        let one = |row: &rusqlite::Row<'_>| {
            Ok(Exposure { arms: row.get(0)?, session: row.get(1)?, at: row.get(2)? })
        };
        let run = || {
            self.connection.prepare(sql)?.query_map([], one)?.collect::<rusqlite::Result<Vec<_>>>()
        };
        run().map_err(|e| self.error(e))
    }
}

fn experiment(row: &rusqlite::Row<'_>) -> rusqlite::Result<StoredExperiment> {
    Ok(StoredExperiment {
        name: row.get(0)?,
        definition: row.get(1)?,
        started: row.get(2)?,
        stopped: row.get(3)?,
    })
}
