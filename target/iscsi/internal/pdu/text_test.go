package pdu

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseText(t *testing.T) {
	tests := []struct {
		name, give string
		want       []Pair
		ok         bool
	}{
		{"empty", "", nil, true},
		{"NULs only", "\x00\x00\x00", nil, true},
		{"two", "A=1\x00B=x=y\x00", []Pair{{"A", "1"}, {"B", "x=y"}}, true},
		{"no NUL at the end", "A=1", []Pair{{"A", "1"}}, true},
		{"NUL runs", "\x00A=1\x00\x00\x00B=2\x00\x00", []Pair{{"A", "1"}, {"B", "2"}}, true},
		{"empty value", "SendTargets=\x00", []Pair{{"SendTargets", ""}}, true},
		{"twice", "A=1\x00A=2\x00", []Pair{{"A", "1"}, {"A", "2"}}, true},
		{"UTF-8 value", "TargetAlias=Büro\x00", []Pair{{"TargetAlias", "Büro"}}, true},
		{"no equals sign", "A=1\x00B\x00", nil, false},
		{"no key", "=1\x00", nil, false},
		{"key of 63", strings.Repeat("k", 63) + "=1\x00", []Pair{{strings.Repeat("k", 63), "1"}}, true},
		{"key of 64", strings.Repeat("k", 64) + "=1\x00", nil, false},
		{"bad character in key", "A B=1\x00", nil, false},
		{"control character in value", "A=1\n2\x00", nil, false},
		{"value too long", "A=" + strings.Repeat("v", MaxValueLen+1) + "\x00", nil, false},
		{"too many", strings.Repeat("a=b\x00", MaxPairs+1), nil, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ParseText([]byte(tt.give))
			if (err == nil) != tt.ok {
				t.Fatalf("error %v, want ok %v", err, tt.ok)
			}
			if err != nil && !errors.Is(err, ErrText) {
				t.Errorf("error %v does not wrap ErrText", err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func FuzzParseText(f *testing.F) {
	f.Add([]byte("InitiatorName=iqn.1998-01.com.example:a\x00SessionType=Normal\x00"))
	f.Add([]byte(strings.Repeat("a=b\x00", 2048)))
	f.Add([]byte("\x00=\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		pairs, err := ParseText(b)
		if err != nil {
			return
		}
		var out []byte
		for _, p := range pairs {
			out = AppendPair(out, p.Key, p.Value)
		}
		again, err := ParseText(out)
		if err != nil {
			t.Fatal(err)
		}
		if fmt.Sprint(pairs) != fmt.Sprint(again) {
			t.Errorf("%v and %v", pairs, again)
		}
	})
}
