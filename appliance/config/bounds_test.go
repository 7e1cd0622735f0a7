package config

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// Whatever is broken around a secret, no error shows it.
func TestSecretsStayOut(t *testing.T) {
	texts := []string{
		okPool + okVolume + okTarget + "chap = { user = \"u\", secret = \"hunter2hunter2\" }\n",
		okPool + okVolume + okTarget + "[target.chap]\nuser = 'u'\nsecret = '''\nhunter2hunter2'''\n",
		okPool + okVolume + okTarget + "[target.chap]\nuser = 'u'\npassword = hunter2hunter2\n",
	}
	for _, text := range texts {
		for i := range text {
			for _, put := range []string{"", "\"", "\\", "\n", "“", "1"} {
				broken := text[:i] + put + text[i+1:]
				_, err := Parse("a.toml", []byte(broken))
				if err != nil && strings.Contains(err.Error(), "hunter2hunter") {
					t.Fatalf("%q in place of byte %d shows the secret: %v\n%s", put, i, err, broken)
				}
			}
		}
	}
}

// No file of the size that is allowed keeps the parser busy for long. It takes
// a second at most; the limit is for a loaded machine under -race.
func TestParseIsBounded(t *testing.T) {
	var keys, distinct strings.Builder
	for i := range 20000 {
		fmt.Fprintf(&keys, "k%d = 1\n", i)
		fmt.Fprintf(&distinct, "'%d',", i)
	}
	for name, text := range map[string]string{
		"sections":      strings.Repeat("[[pool]]\n", MaxFile/4/9),
		"sub-sections":  "[[pool]]\n" + strings.Repeat("[[pool.x]]\n", MaxFile/4/12),
		"unknown keys":  keys.String(),
		"list":          "[[pool]]\nname='p'\nlayout='single'\ndisks=[" + strings.Repeat("'a',", MaxFile/4/5) + "]",
		"distinct":      "[[pool]]\nname='p'\nlayout='single'\ndisks=[" + distinct.String() + "]",
		"quotes":        strings.Repeat(`"`, MaxFile/4),
		"inline tables": "a=[" + strings.Repeat("{b=1},", MaxFile/4/7) + "]",
		"dotted":        strings.Repeat("a.b.c.d.e.f.g.h=1\n", MaxFile/4/20),
		"brackets":      strings.Repeat("[", MaxFile/4),
	} {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			if _, err := Parse("a.toml", []byte(text)); err == nil {
				t.Error("accepted")
			}
			if d := time.Since(start); d > 2*time.Minute {
				t.Errorf("took %v", d)
			} else {
				t.Log(d)
			}
		})
	}
}
