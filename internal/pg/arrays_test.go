package pg

import (
	"bytes"
	"testing"

	"github.com/jackc/pgx/v5/pgtype"

	"github.com/tenon-run/tenon/internal/flow"
)

// The own codec writes byte for byte what pgx writes.
func TestArraysAreEncodedAsPgxDoes(t *testing.T) {
	t.Parallel()
	theirs, ours := pgtype.NewMap(), pgtype.NewMap()
	registerArrays(ours)
	id := flow.ID{1, 2, 3, 15: 9}
	for name, c := range map[string]struct {
		oid    uint32
		values []any
	}{
		"bigint":   {pgtype.Int8ArrayOID, []any{[]int64{-1, 0, 1 << 62}, []int64{}, []int64(nil)}},
		"int":      {pgtype.Int4ArrayOID, []any{[]int32{-1, 0, 1 << 30}, []int32{}}},
		"smallint": {pgtype.Int2ArrayOID, []any{[]int16{-1, 0, 300}, []int16{}}},
		"boolean":  {pgtype.BoolArrayOID, []any{[]bool{true, false}}},
		"text":     {pgtype.TextArrayOID, []any{[]string{"", "häßlich", "NULL"}, []string{}, []string(nil)}},
		"bytea":    {pgtype.ByteaArrayOID, []any{[][]byte{{}, {0, 255}}, [][]byte{nil, {1}}, [][]byte{}, [][]byte(nil)}},
		"uuid":     {pgtype.UUIDArrayOID, []any{[]flow.ID{id, {}}, []flow.ID{}}},
		"mixed":    {pgtype.Int8ArrayOID, []any{[]int32{1, 2}, []*int64{nil}}},
	} {
		for _, value := range c.values {
			want, wantErr := theirs.Encode(c.oid, pgtype.BinaryFormatCode, value, nil)
			got, err := ours.Encode(c.oid, pgtype.BinaryFormatCode, value, nil)
			if wantErr != nil || err != nil {
				t.Errorf("%s %v: pgx says %v, we say %v", name, value, wantErr, err)
				continue
			}
			// pgx counts whether there are NULLs; Postgres reads the flag and does nothing with it.
			if len(got) >= 8 && len(want) >= 8 {
				got[7] = want[7]
			}
			if !bytes.Equal(want, got) || (want == nil) != (got == nil) {
				t.Errorf("%s %v: pgx writes %x, we write %x", name, value, want, got)
			}
		}
	}
}

func BenchmarkArrays(b *testing.B) {
	ids := make([]flow.ID, 1000)
	numbers := make([]int64, 1000)
	for name, register := range map[string]func(*pgtype.Map){"pgx": func(*pgtype.Map) {}, "own": registerArrays} {
		b.Run(name, func(b *testing.B) {
			m := pgtype.NewMap()
			register(m)
			var buf []byte
			b.ReportAllocs()
			for b.Loop() {
				for oid, value := range map[uint32]any{pgtype.Int8ArrayOID: numbers, pgtype.UUIDArrayOID: ids} {
					out, err := m.Encode(oid, pgtype.BinaryFormatCode, value, buf[:0])
					if err != nil {
						b.Fatal(err)
					}
					buf = out
				}
			}
		})
	}
}
