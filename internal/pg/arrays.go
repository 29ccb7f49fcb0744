package pg

import (
	"encoding/binary"

	"github.com/jackc/pgx/v5/pgtype"

	"github.com/tenon-run/tenon/internal/flow"
)

// arrayCodec encodes the slices that the engine's commits are made of, a column each, without reflection and without a box for each element. All
// else is pgx's own.
type arrayCodec struct {
	*pgtype.ArrayCodec
}

// registerArrays puts the codec before pgx's for the types of element that a commit has.
func registerArrays(m *pgtype.Map) {
	for _, oid := range []uint32{
		pgtype.BoolArrayOID, pgtype.Int2ArrayOID, pgtype.Int4ArrayOID, pgtype.Int8ArrayOID, pgtype.TextArrayOID, pgtype.ByteaArrayOID, pgtype.UUIDArrayOID,
	} {
		if known, ok := m.TypeForOID(oid); ok {
			if codec, ok := known.Codec.(*pgtype.ArrayCodec); ok {
				m.RegisterType(&pgtype.Type{Name: known.Name, OID: oid, Codec: arrayCodec{codec}})
			}
		}
	}
}

// PlanEncode implements pgtype.Codec.
func (c arrayCodec) PlanEncode(m *pgtype.Map, oid uint32, format int16, value any) pgtype.EncodePlan {
	if format == pgtype.BinaryFormatCode {
		element := c.ElementType.OID
		switch value.(type) {
		case []int64:
			if element == pgtype.Int8OID {
				return arrayPlan[int64]{element, putInt64}
			}
		case []int32:
			if element == pgtype.Int4OID {
				return arrayPlan[int32]{element, putInt32}
			}
		case []int16:
			if element == pgtype.Int2OID {
				return arrayPlan[int16]{element, putInt16}
			}
		case []string:
			if element == pgtype.TextOID {
				return arrayPlan[string]{element, putString}
			}
		case [][]byte:
			if element == pgtype.ByteaOID {
				return arrayPlan[[]byte]{element, putBytes}
			}
		case []flow.ID:
			if element == pgtype.UUIDOID {
				return arrayPlan[flow.ID]{element, putID}
			}
		}
	}
	return c.ArrayCodec.PlanEncode(m, oid, format, value)
}

// arrayPlan encodes a slice of one dimension. A nil element is NULL, a nil slice a NULL array.
type arrayPlan[T any] struct {
	element uint32
	put     func(buf []byte, v T) []byte
}

// Encode implements pgtype.EncodePlan.
func (p arrayPlan[T]) Encode(value any, buf []byte) ([]byte, error) {
	list, ok := value.([]T)
	if !ok || list == nil {
		return nil, nil
	}
	const dimensions, mayHaveNulls, lowerBound = 1, 1, 1
	buf = binary.BigEndian.AppendUint32(buf, dimensions)
	buf = binary.BigEndian.AppendUint32(buf, mayHaveNulls)
	buf = binary.BigEndian.AppendUint32(buf, p.element)
	buf = binary.BigEndian.AppendUint32(buf, uint32(len(list))) //nolint:gosec // a batch's rows
	buf = binary.BigEndian.AppendUint32(buf, lowerBound)
	for _, v := range list {
		buf = p.put(buf, v)
	}
	return buf, nil
}

func putSize(buf []byte, n int) []byte {
	return binary.BigEndian.AppendUint32(buf, uint32(n)) //nolint:gosec // Postgres's own limit of a value is below
}

func putInt64(buf []byte, v int64) []byte {
	return binary.BigEndian.AppendUint64(putSize(buf, 8), uint64(v)) //nolint:gosec // the same bits
}

func putInt32(buf []byte, v int32) []byte {
	return binary.BigEndian.AppendUint32(putSize(buf, 4), uint32(v)) //nolint:gosec // the same bits
}

func putInt16(buf []byte, v int16) []byte {
	return binary.BigEndian.AppendUint16(putSize(buf, 2), uint16(v)) //nolint:gosec // the same bits
}

func putString(buf []byte, v string) []byte { return append(putSize(buf, len(v)), v...) }

func putBytes(buf []byte, v []byte) []byte {
	if v == nil {
		const null = 0xFFFFFFFF
		return binary.BigEndian.AppendUint32(buf, null)
	}
	return append(putSize(buf, len(v)), v...)
}

func putID(buf []byte, v flow.ID) []byte { return append(putSize(buf, len(v)), v[:]...) }
