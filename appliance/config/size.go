package config

import (
	"errors"
	"fmt"
	"math/big"
	"strings"
)

// Extent is the unit in which LVM gives out space, in bytes; a volume's size
// is rounded up to a multiple of it.
const Extent = 4 << 20

// ParseSize reads a size such as "64GiB" (powers of 1024) or "500MB" (powers
// of 1000) in bytes. Fractions are fine; a fraction of a byte is rounded up.
func ParseSize(s string) (int64, error) {
	number := strings.TrimRight(s, "KMGTPEkmgtpeiIbB ")
	unit := strings.TrimSpace(s[len(number):])
	factor, ok := unitOf(unit)
	switch {
	case number == "" || len(number) > 32 || strings.Trim(number, "0123456789.") != "" ||
		strings.Count(number, ".") > 1 || number[0] == '.' || number[len(number)-1] == '.':
		return 0, errors.New(`is not a size; write a number and a unit, as in "64GiB"`)
	case unit == "":
		return 0, fmt.Errorf(`has no unit; write "%sGiB" if you mean that many gibibytes`, number)
	case !ok && len(unit) == 1:
		u := strings.ToUpper(unit)
		return 0, fmt.Errorf(`has an ambiguous unit; write "%s%siB" (powers of 1024) or "%s%sB" (powers of 1000)`, number, u, number, u)
	case !ok:
		return 0, errors.New("has an unknown unit; use MiB, GiB, TiB, PiB (powers of 1024) or MB, GB, TB, PB (powers of 1000)")
	}
	r, ok := new(big.Rat).SetString(number)
	if !ok {
		return 0, errors.New(`is not a size; write a number and a unit, as in "64GiB"`)
	}
	r.Mul(r, new(big.Rat).SetInt64(factor))
	n, rest := new(big.Int).QuoRem(r.Num(), r.Denom(), new(big.Int))
	if rest.Sign() > 0 {
		n.Add(n, big.NewInt(1))
	}
	if !n.IsInt64() {
		return 0, errors.New("is larger than any disk can be; check the number and the unit")
	}
	return n.Int64(), nil
}

// unitOf returns the bytes in a unit.
func unitOf(unit string) (int64, bool) {
	if unit == "B" {
		return 1, true
	}
	base := int64(1000)
	prefix, ok := strings.CutSuffix(unit, "iB")
	if ok {
		base = 1024
	} else if prefix, ok = strings.CutSuffix(unit, "B"); !ok {
		return 0, false
	}
	power := strings.Index("KMGTP", prefix)
	if len(prefix) != 1 || power < 0 {
		return 0, false
	}
	factor := base
	for range power {
		factor *= base
	}
	return factor, true
}

// volumeSize is ParseSize with the bounds of a volume.
func volumeSize(s string) (int64, error) {
	n, err := ParseSize(s)
	switch {
	case err != nil:
		return 0, err
	case n < Extent:
		return 0, errors.New("is too small; a volume has at least 4MiB")
	case n > 1<<63-Extent:
		return 0, errors.New("is larger than any disk can be; check the number and the unit")
	}
	return (n + Extent - 1) / Extent * Extent, nil
}
