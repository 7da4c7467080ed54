//! Printing: tables for people, stable JSON and YAML for programs.

use std::io::{self, Write};

use clap::ValueEnum;
use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;

use super::fault::{Exit, Fault};

/// Rows laid out together. Widths are found per group, so a longer list may step once per group and still streams.
const TABLE_ROWS: usize = 500;

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Form {
    /// Columns for people
    Table,
    /// More columns
    Wide,
    /// One JSON document; a list is {"items":[…]}
    Json,
    /// One JSON object a line
    Ndjson,
    /// One YAML document
    Yaml,
    /// Names only
    Name,
}

/// `-o`.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(super) struct OutputArgs {
    /// How to print
    #[arg(short = 'o', long = "output", value_name = "FORM", value_enum, default_value = "table")]
    pub(super) form: Form,
}

/// Something that can be a row of a table.
pub(super) trait Show: Serialize {
    /// Heads of the columns.
    fn heads(wide: bool) -> &'static [&'static str];
    /// The row.
    fn cells(&self, wide: bool) -> Vec<String>;
    /// What `-o name` prints.
    fn name(&self) -> String;
}

/// Prints a list item by item.
pub(super) struct ListPrinter<'a, T, W: Write> {
    form: Form,
    out: &'a mut W,
    rows: Vec<T>,
    printed: u64,
    /// Rows are printed as they come: a list that grows while one looks at it.
    live: bool,
}

/// Text that cannot play tricks on a terminal.
pub(super) fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

fn failed(error: impl std::fmt::Display) -> Fault {
    Fault::new(Exit::Failed, format!("cannot print the result: {error}"))
}

impl<'a, T: Show, W: Write> ListPrinter<'a, T, W> {
    /// A list that is printed to `out`.
    pub(super) fn new(form: Form, out: &'a mut W) -> Self {
        Self { form, out, rows: Vec::new(), printed: 0, live: false }
    }

    /// A list without an end: every item is printed at once, JSON one object a line, YAML one document each.
    pub(super) fn live(form: Form, out: &'a mut W) -> Self {
        let form = if form == Form::Json { Form::Ndjson } else { form };
        Self { live: true, ..Self::new(form, out) }
    }

    /// Prints an item, or keeps it until enough are there to be laid out.
    pub(super) fn item(&mut self, item: T) -> Result<(), Fault> {
        match self.form {
            Form::Table | Form::Wide => {
                self.rows.push(item);
                if self.live || self.rows.len() >= TABLE_ROWS {
                    self.flush_rows()?;
                }
                return self.flush_live();
            }
            Form::Json => {
                self.out.write_all(if self.printed == 0 { b"{\"items\":[\n" } else { b",\n" })?;
                self.out.write_all(&serde_json::to_vec(&item).map_err(failed)?)?;
            }
            Form::Ndjson => {
                self.out.write_all(&serde_json::to_vec(&item).map_err(failed)?)?;
                self.out.write_all(b"\n")?;
            }
            Form::Yaml if self.live => {
                self.out.write_all(if self.printed == 0 { b"" } else { b"---\n" })?;
                self.out.write_all(yaml(&item)?.as_bytes())?;
            }
            Form::Yaml => {
                self.out.write_all(if self.printed == 0 { b"items:\n" } else { b"" })?;
                self.out.write_all(yaml(&[item])?.as_bytes())?;
            }
            Form::Name => writeln!(self.out, "{}", plain(&item.name()))?,
        }
        self.printed += 1;
        self.flush_live()
    }

    fn flush_live(&mut self) -> Result<(), Fault> {
        if self.live {
            self.out.flush()?;
        }
        Ok(())
    }

    fn flush_rows(&mut self) -> Result<(), Fault> {
        let wide = self.form == Form::Wide;
        let mut rows: Vec<Vec<String>> = Vec::with_capacity(self.rows.len() + 1);
        if self.printed == 0 {
            rows.push(T::heads(wide).iter().map(|head| (*head).to_owned()).collect());
        }
        self.printed += self.rows.len() as u64;
        rows.extend(self.rows.drain(..).map(|item| item.cells(wide)));
        self.out.write_all(table(rows).as_bytes())?;
        Ok(())
    }

    /// Ends the list. An empty one says so, on stderr where it is a table.
    pub(super) fn finish(mut self, what: &str) -> Result<(), Fault> {
        match self.form {
            Form::Table | Form::Wide if !self.rows.is_empty() => self.flush_rows()?,
            Form::Table | Form::Wide if self.printed == 0 => eprintln!("No {what}."),
            Form::Json if self.printed == 0 => self.out.write_all(b"{\"items\":[]}\n")?,
            Form::Json => self.out.write_all(b"\n]}\n")?,
            Form::Yaml if self.printed == 0 && !self.live => self.out.write_all(b"items: []\n")?,
            Form::Table | Form::Wide | Form::Ndjson | Form::Yaml | Form::Name => {}
        }
        self.out.flush()?;
        Ok(())
    }
}

/// Rows in columns, without lines between them.
pub(super) fn table(rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled).force_no_tty();
    for row in rows {
        table.add_row(row.iter().map(|cell| plain(cell)));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 3));
    }
    let lines = table.to_string();
    lines.lines().flat_map(|line| [line.trim_end(), "\n"]).collect()
}

/// A value as YAML.
fn yaml<T: Serialize + ?Sized>(value: &T) -> Result<String, Fault> {
    // By way of a JSON value, since embedded raw JSON is known to serde_json alone.
    let value = serde_json::to_value(value).map_err(failed)?;
    serde_saphyr::to_string(&value).map_err(failed)
}

/// Prints one thing; `describe` is its form for people.
pub(super) fn print_one<T: Show>(
    form: Form,
    item: &T,
    out: &mut impl Write,
    describe: impl FnOnce(&T) -> String,
) -> Result<(), Fault> {
    let text = match form {
        Form::Table | Form::Wide => describe(item),
        Form::Json => serde_json::to_string_pretty(item).map_err(failed)? + "\n",
        Form::Ndjson => serde_json::to_string(item).map_err(failed)? + "\n",
        Form::Yaml => yaml(item)?,
        Form::Name => plain(&item.name()) + "\n",
    };
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(())
}

/// Stdout, with one system call for many lines.
pub(super) fn stdout() -> io::BufWriter<io::StdoutLock<'static>> {
    io::BufWriter::new(io::stdout().lock())
}
