//! Tables for databases and data frames: Parquet, with the columns of the other tables typed, and null what is not known.

use std::io::{self, Write};
use std::sync::Arc;

use parquet::basic::{Compression, Encoding, LogicalType, Repetition, TimeUnit, Type as Physical, ZstdLevel};
use parquet::column::writer::{ColumnWriter, ColumnWriterImpl};
use parquet::data_type::{ByteArray, DataType};
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::{ColumnPath, Type};

use super::tables::{Cell, Kind, Rows, Table};

/// Rows of a group. A format of columns needs them all at once: at most 25 MiB of the widest table.
const GROUP: usize = 65_536;

/// Rows of a column that are encoded at once.
const BATCH: usize = 1024;

/// Begins a table.
pub fn begin<W: Write + Send + 'static>(out: W, table: &'static Table) -> io::Result<Box<dyn Rows<W>>> {
    Ok(Box::new(Parquet::new(out, table, GROUP).map_err(cause)?))
}

struct Parquet<W: Write> {
    file: SerializedFileWriter<W>,
    columns: usize,
    group: usize,
    /// Of the group that is not written, row after row.
    cells: Vec<Cell>,
}

impl<W: Write + Send> Parquet<W> {
    fn new(out: W, table: &'static Table, group: usize) -> Result<Self, ParquetError> {
        // An index of pages would be as long as the table, and in memory until its end; groups are small enough.
        let mut properties = WriterProperties::builder()
            .set_created_by(concat!("ctwatch ", env!("CARGO_PKG_VERSION")).into())
            .set_compression(Compression::ZSTD(ZstdLevel::try_new(1)?))
            .set_statistics_enabled(EnabledStatistics::Chunk)
            .set_offset_index_disabled(true);
        for (name, _) in table.columns.iter().filter(|(_, kind)| matches!(kind, Kind::Time | Kind::U64)) {
            // No two times are the same, but one is near the next.
            let column = ColumnPath::from(*name);
            properties = properties.set_column_dictionary_enabled(column.clone(), false);
            properties = properties.set_column_encoding(column, Encoding::DELTA_BINARY_PACKED);
        }
        let fields = table.columns.iter().map(|(name, kind)| field(name, *kind));
        let schema =
            Type::group_type_builder(table.name).with_fields(fields.collect::<Result<_, _>>()?).build()?;
        let file = SerializedFileWriter::new(out, Arc::new(schema), Arc::new(properties.build()))?;
        Ok(Self { file, columns: table.columns.len(), group, cells: Vec::new() })
    }

    fn write_group(&mut self) -> Result<(), ParquetError> {
        let mut group = self.file.next_row_group()?;
        let mut at = 0;
        while let Some(mut column) = group.next_column()? {
            for rows in self.cells.chunks(BATCH * self.columns) {
                write_cells(column.untyped(), rows.iter().skip(at).step_by(self.columns))?;
            }
            column.close()?;
            at += 1;
        }
        group.close()?;
        self.cells.clear();
        Ok(())
    }
}

impl<W: Write + Send> Rows<W> for Parquet<W> {
    fn row(&mut self, cells: &[Cell]) -> io::Result<()> {
        self.cells.extend_from_slice(cells);
        if self.cells.len() == self.group * self.columns {
            self.write_group().map_err(cause)?;
        }
        Ok(())
    }

    fn end(mut self: Box<Self>) -> io::Result<W> {
        if !self.cells.is_empty() {
            self.write_group().map_err(cause)?;
        }
        self.file.into_inner().map_err(cause)
    }
}

fn field(name: &str, kind: Kind) -> Result<Arc<Type>, ParquetError> {
    let unsigned = |bits| Some(LogicalType::integer(bits, false));
    let (physical, logical) = match kind {
        Kind::Time => (Physical::INT64, Some(LogicalType::timestamp(true, TimeUnit::NANOS))),
        Kind::U16 => (Physical::INT32, unsigned(16)),
        Kind::U32 => (Physical::INT32, unsigned(32)),
        Kind::U64 => (Physical::INT64, unsigned(64)),
        Kind::Rate => (Physical::DOUBLE, None),
        Kind::Text => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
    };
    let field = Type::primitive_type_builder(name, physical)
        .with_repetition(Repetition::OPTIONAL)
        .with_logical_type(logical);
    Ok(Arc::new(field.build()?))
}

fn write_cells<'a>(
    out: &mut ColumnWriter<'_>,
    cells: impl Iterator<Item = &'a Cell>,
) -> Result<(), ParquetError> {
    match out {
        ColumnWriter::Int32ColumnWriter(out) => write_values(out, cells, |cell| match cell {
            Cell::Number(number) => u32::try_from(*number).ok().map(u32::cast_signed),
            _ => None,
        }),
        ColumnWriter::Int64ColumnWriter(out) => write_values(out, cells, |cell| match cell {
            Cell::Time(unix_ns) => Some(*unix_ns),
            Cell::Number(number) => Some(number.cast_signed()),
            _ => None,
        }),
        ColumnWriter::DoubleColumnWriter(out) => write_values(out, cells, |cell| match cell {
            Cell::Rate(rate) => Some(*rate),
            _ => None,
        }),
        ColumnWriter::ByteArrayColumnWriter(out) => {
            write_values(out, cells, |cell| Some(ByteArray::from(cell.to_string().into_bytes())))
        }
        _ => Err(ParquetError::General("no column is of this type".into())),
    }
}

fn write_values<'a, T: DataType>(
    out: &mut ColumnWriterImpl<'_, T>,
    cells: impl Iterator<Item = &'a Cell>,
    value: fn(&Cell) -> Option<T::T>,
) -> Result<(), ParquetError> {
    let (mut values, mut known) = (Vec::with_capacity(BATCH), Vec::with_capacity(BATCH));
    for cell in cells {
        known.push(i16::from(*cell != Cell::Empty));
        if *cell != Cell::Empty {
            let wrong = || ParquetError::General(format!("`{cell}` is not of its column's type"));
            values.push(value(cell).ok_or_else(wrong)?);
        }
    }
    out.write_batch(&values, Some(&known), None)?;
    Ok(())
}

/// What the system refused in its own words.
fn cause(error: ParquetError) -> io::Error {
    match error {
        ParquetError::External(it) => it.downcast().map_or_else(io::Error::other, |it| *it),
        it => it.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{
        csv,
        tables::{INCIDENTS, SECONDS, tests::story},
    };
    use super::*;
    use crate::output::time::Rfc3339;
    use parquet::file::reader::{FileReader as _, SerializedFileReader};
    use parquet::record::Field;

    /// Small enough that groups of a story end in the middle, at the end, and before it.
    fn begin(out: Vec<u8>, table: &'static Table) -> io::Result<Box<dyn Rows<Vec<u8>>>> {
        Ok(Box::new(Parquet::new(out, table, 3).map_err(cause)?))
    }

    /// A value as the CSV has it; panics if it is not of the column's type.
    fn text(value: &Field, kind: Kind) -> String {
        match (value, kind) {
            (Field::Null, _) => String::new(),
            (Field::Long(unix_ns), Kind::Time) => Rfc3339::unix_ns(*unix_ns).to_string(),
            (Field::UShort(number), Kind::U16) => number.to_string(),
            (Field::UInt(number), Kind::U32) => number.to_string(),
            (Field::ULong(number), Kind::U64) => number.to_string(),
            (Field::Double(rate), Kind::Rate) => format!("{rate:.3}"),
            (Field::Str(text), Kind::Text) => text.clone(),
            (value, kind) => panic!("{value:?} is no {kind:?}"),
        }
    }

    #[test]
    fn what_is_read_back_is_what_the_csv_says() {
        for ((table, bytes), (_, csv)) in story(begin).into_iter().zip(story(csv::begin)) {
            let reader = SerializedFileReader::new(bytes::Bytes::from(bytes)).expect("a Parquet file");
            let schema = reader.metadata().file_metadata().schema_descr_ptr();
            let mut lines = vec![schema.columns().iter().map(|it| it.name().to_owned()).collect::<Vec<_>>()];
            for row in reader.get_row_iter(None).expect("rows") {
                let row = row.expect("a row");
                let cells = row.get_column_iter().zip(table.columns);
                lines.push(cells.map(|((_, value), (_, kind))| text(value, *kind)).collect());
            }
            let lines: String = lines.iter().map(|cells| cells.join(",") + "\r\n").collect();
            assert_eq!(lines, String::from_utf8(csv).expect("text"), "{}", table.name);
            let groups = reader.metadata().row_groups().iter().map(|it| it.num_rows());
            assert!(groups.clone().all(|rows| rows <= 3), "{}: {:?}", table.name, groups.collect::<Vec<_>>());
        }
    }

    #[test]
    fn times_say_that_they_are_nanoseconds_in_utc() {
        let field = field("time", Kind::Time).expect("a field");
        let logical = field.get_basic_info().logical_type_ref();
        assert_eq!(logical, Some(&LogicalType::timestamp(true, TimeUnit::NANOS)));
    }

    #[test]
    fn the_largest_numbers_survive_and_wrong_ones_are_refused() {
        let row = |number| {
            let mut rows = begin(Vec::new(), &SECONDS).expect("a vector takes all");
            let mut cells = [Cell::Empty; 13];
            (cells[1], cells[2]) = (Cell::Number(u64::MAX), Cell::Number(number));
            rows.row(&cells).and_then(|()| rows.end())
        };
        let bytes = row(u64::from(u32::MAX)).expect("a vector takes all");
        let reader = SerializedFileReader::new(bytes::Bytes::from(bytes)).expect("a Parquet file");
        let read = reader.get_row_iter(None).expect("rows").next().expect("one").expect("a row");
        let values: Vec<_> = read.get_column_iter().map(|(_, value)| value.clone()).collect();
        assert_eq!(values[1..3], [Field::ULong(u64::MAX), Field::UInt(u32::MAX)]);
        assert!(row(u64::from(u32::MAX) + 1).is_err());
    }

    #[test]
    fn columns_stay_in_step_where_a_batch_ends() {
        let mut rows = super::begin(Vec::new(), &SECONDS).expect("a vector takes all");
        let written = |at: u64| {
            let state = if at.is_multiple_of(3) { Cell::Empty } else { Cell::Word("ok") };
            let mut cells = [Cell::Empty; 13];
            (cells[0], cells[3], cells[12]) = (Cell::Time(at as i64), state, Cell::Number(at));
            cells
        };
        let all = 0..2 * BATCH as u64 + 1;
        all.clone().for_each(|at| rows.row(&written(at)).expect("a vector takes all"));
        let bytes = rows.end().expect("a vector takes all");
        let reader = SerializedFileReader::new(bytes::Bytes::from(bytes)).expect("a Parquet file");
        let read: Vec<_> = reader.get_row_iter(None).expect("rows").map(|row| row.expect("a row")).collect();
        assert_eq!(read.len() as u64, all.end);
        for (at, row) in all.zip(read) {
            let cells = row.get_column_iter().zip(SECONDS.columns);
            let cells: Vec<_> = cells.map(|((_, value), (_, kind))| text(value, *kind)).collect();
            assert_eq!(cells, written(at).map(|cell| cell.to_string()));
        }
    }

    #[test]
    fn a_table_without_rows_has_its_columns() {
        let bytes = begin(Vec::new(), &INCIDENTS).and_then(|rows| rows.end()).expect("a vector takes all");
        let reader = SerializedFileReader::new(bytes::Bytes::from(bytes)).expect("a Parquet file");
        let metadata = reader.metadata().file_metadata();
        assert_eq!((metadata.num_rows(), metadata.schema_descr().num_columns()), (0, 16));
    }
}
