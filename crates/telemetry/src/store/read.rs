//! Reading: rows in bulk, and what is in the store at all.

use std::collections::HashMap;
use std::ops::Range;

use rusqlite::types::ValueRef;

use super::schema::stored_ints;
use super::{Store, StoreError};
use crate::event::{Columns, Event, Int, Ints, Names, Text};

/// Which rows are wanted, by the time they started: milliseconds since 1970, the end excluded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window(pub Range<i64>);

impl Window {
    pub const ALL: Window = Window(i64::MIN..i64::MAX);

    pub fn since(at: i64) -> Window {
        Window(at..i64::MAX)
    }
}

/// What is in a store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Census {
    pub rows: i64,
    /// Rows by kind.
    pub kinds: Vec<(String, i64)>,
    pub sessions: i64,
    /// Changes that could not be written.
    pub lost: i64,
    pub oldest: Option<i64>,
    pub newest: Option<i64>,
    pub bytes: u64,
}

impl Store {
    /// Session numbers that cut the rows into at most `n` runs of about as many sessions each.
    pub fn parts(&self, n: usize) -> Result<Vec<Range<i64>>, StoreError> {
        let bounds = "SELECT coalesce(min(id), 0), coalesce(max(id), 0) FROM event";
        let (least, most): (i64, i64) = self
            .connection
            .query_row(bounds, [], |row| Ok((row.get(0)?, row.get(1)?)))
            .map_err(|e| self.error(e))?;
        let sql = "SELECT id FROM session_run WHERE id BETWEEN ?1 >> 32 AND ?2 >> 32 ORDER BY id";
        let mut statement = self.connection.prepare(sql).map_err(|e| self.error(e))?;
        let rows = statement
            .query_map([least, most], |row| row.get::<_, i64>(0))
            .map_err(|e| self.error(e))?;
        let sessions: Vec<i64> = rows.collect::<Result<_, _>>().map_err(|e| self.error(e))?;
        let size = sessions.len().div_ceil(n.max(1)).max(1);
        let mut starts: Vec<i64> = sessions.chunks(size).map(|chunk| chunk[0] << 32).collect();
        // Rows of sessions that are not listed lie somewhere too.
        match starts.first_mut() {
            Some(first) => *first = i64::MIN,
            None => starts.push(i64::MIN),
        }
        let ends = starts.iter().skip(1).copied().chain([i64::MAX]).collect::<Vec<_>>();
        Ok(starts.into_iter().zip(ends).map(|(start, end)| start..end).collect())
    }

    /// Gives every row of `window` with its id in `ids` to `take`, in the order of ids; texts are
    /// numbered in `names`. The row's number and its time are always there.
    pub fn scan(
        &self,
        ids: &Range<i64>,
        window: &Window,
        columns: &Columns,
        names: &mut Names,
        mut take: impl FnMut(&Event, &Names),
    ) -> Result<(), StoreError> {
        let run = |names: &mut Names,
                   take: &mut dyn FnMut(&Event, &Names)|
         -> rusqlite::Result<()> {
            // First, so that all readers of one store number it alike.
            let installation = names.number(&self.installation);
            let numbers = self.numbers(names)?;
            let ints: Vec<Int> =
                stored_ints().filter(|c| *c != Int::At && columns.ints.contains(c)).collect();
            let wanted: Vec<&str> = columns
                .texts
                .iter()
                .map(|c| c.name())
                .chain(ints.iter().map(|c| c.name()))
                .collect();
            // Without an index over time the table is read in its order anyway: comparing here
            // costs nothing.
            let wanted: String = wanted.iter().map(|name| format!(", {name}")).collect();
            let sql = format!("SELECT id, at{wanted} FROM event WHERE id >= ?1 AND id < ?2");
            let mut statement = self.connection.prepare(&sql)?;
            let mut rows = statement.query([ids.start, ids.end])?;
            while let Some(row) = rows.next()? {
                let at = row.get::<_, Option<i64>>(1)?;
                if !window.0.contains(&at.unwrap_or(0)) {
                    continue;
                }
                let mut event =
                    Event { installation, texts: [0; Text::COUNT], ints: Ints::default() };
                event.ints.set(Int::Row, Some(row.get(0)?));
                event.ints.set(Int::At, at);
                for (i, text) in columns.texts.iter().enumerate() {
                    if let ValueRef::Integer(number) = row.get_ref(2 + i)? {
                        event.texts[*text as usize] = numbers.of(number);
                    }
                }
                for (i, column) in ints.iter().enumerate() {
                    if let ValueRef::Integer(value) = row.get_ref(2 + columns.texts.len() + i)? {
                        event.ints.set(*column, Some(value));
                    }
                }
                take(&event, names);
            }
            Ok(())
        };
        run(names, &mut take).map_err(|e| self.error(e))
    }

    /// Our numbers of the names that have one in the store.
    fn numbers(&self, names: &mut Names) -> rusqlite::Result<Numbers> {
        let mut statement = self.connection.prepare("SELECT id, text FROM name")?;
        let mut rows = statement.query([])?;
        let mut numbers = Numbers::default();
        while let Some(row) = rows.next()? {
            numbers.set(row.get(0)?, names.number(row.get_ref(1)?.as_str()?));
        }
        Ok(numbers)
    }

    pub fn census(&self) -> Result<Census, StoreError> {
        let run = || -> rusqlite::Result<Census> {
            let sql = "SELECT (SELECT text FROM name WHERE id = kind), count(*), min(at), max(at) FROM event GROUP BY kind ORDER BY 1";
            let mut statement = self.connection.prepare(sql)?;
            let mut rows = statement.query([])?;
            let mut census = Census::default();
            while let Some(row) = rows.next()? {
                let (n, from, to): (i64, Option<i64>, Option<i64>) =
                    (row.get(1)?, row.get(2)?, row.get(3)?);
                census.kinds.push((row.get::<_, Option<String>>(0)?.unwrap_or_default(), n));
                census.rows += n;
                census.oldest = census.oldest.into_iter().chain(from).min();
                census.newest = census.newest.max(to);
            }
            let sessions = "SELECT count(*), coalesce(sum(lost), 0) FROM session_run";
            (census.sessions, census.lost) =
                self.connection.query_row(sessions, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
            Ok(census)
        };
        let mut census = run().map_err(|e| self.error(e))?;
        census.bytes = std::fs::metadata(&self.path).map_or(0, |m| m.len());
        Ok(census)
    }
}

/// From the store's numbers of names to a reader's. The store gives them out from 1 on, so most lie
/// in a table; a file that says otherwise is believed too.
#[derive(Default)]
struct Numbers {
    table: Vec<u32>,
    others: HashMap<i64, u32>,
}

/// Numbers up to this lie in the table.
const TABLE: usize = 1 << 16;

impl Numbers {
    fn set(&mut self, stored: i64, number: u32) {
        match usize::try_from(stored) {
            Ok(at) if at < TABLE => {
                self.table.resize(self.table.len().max(at + 1), 0);
                self.table[at] = number;
            }
            _ => {
                self.others.insert(stored, number);
            }
        }
    }

    fn of(&self, stored: i64) -> u32 {
        let found = usize::try_from(stored).ok().and_then(|at| self.table.get(at));
        found.or_else(|| self.others.get(&stored)).copied().unwrap_or(0)
    }
}
