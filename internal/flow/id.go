package flow

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"time"
)

// ID is a UUID: version 7 for whatever is listed by age, random where it only fences.
type ID [16]byte

// IsZero tells whether the ID is unset.
func (id ID) IsZero() bool { return id == ID{} }

// Time is the instant that a UUIDv7 was made at, to the millisecond.
func (id ID) Time() time.Time {
	var b [8]byte
	copy(b[2:], id[:6])
	return time.UnixMilli(int64(binary.BigEndian.Uint64(b[:]))).UTC() //nolint:gosec // 48 bits fit
}

// Version is the UUID's version, 7 for ids that carry their time.
func (id ID) Version() int { return int(id[6] >> 4) }

// String is the hyphenated lower-case form, as Postgres prints it.
func (id ID) String() string {
	var b [36]byte
	hex.Encode(b[0:8], id[0:4])
	hex.Encode(b[9:13], id[4:6])
	hex.Encode(b[14:18], id[6:8])
	hex.Encode(b[19:23], id[8:10])
	hex.Encode(b[24:], id[10:16])
	b[8], b[13], b[18], b[23] = '-', '-', '-', '-'
	return string(b[:])
}

// ErrBadID is returned by IDFromBytes for anything but 16 bytes.
var ErrBadID = errors.New("an id has 16 bytes")

// IDFromBytes reads the raw form. An empty slice is the zero ID.
func IDFromBytes(b []byte) (ID, error) {
	var id ID
	if len(b) == 0 {
		return id, nil
	}
	if len(b) != len(id) {
		return id, ErrBadID
	}
	copy(id[:], b)
	return id, nil
}

// MakeID lays out a UUIDv7 from an instant (milliseconds since 1970) and ten random or hashed bytes, of which six bits give way to version and variant.
func MakeID(unixMilli int64, entropy [10]byte) ID {
	var id ID
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], uint64(unixMilli)) //nolint:gosec // times after 1970
	copy(id[:6], b[2:])
	copy(id[6:], entropy[:])
	id[6] = id[6]&0x0f | 0x70
	id[8] = id[8]&0x3f | 0x80
	return id
}
