package kernel

import (
	"bytes"
	"fmt"
	"path"
	"strings"
)

// shipped is the ending of a module in the image: compressed one by one, so that only those a machine needs are ever
// expanded in its memory.
const shipped = ".ko.zst"

// shippedPath turns the path of a module in the package into the one in the image.
func shippedPath(module string) string {
	return path.Join(path.Dir(module), moduleName(module)+shipped)
}

// filterDep writes modules.dep for the modules that are in the image.
func filterDep(x *index, modules []string) []byte {
	var b bytes.Buffer
	for _, m := range modules {
		fmt.Fprintf(&b, "%s:", shippedPath(m))
		for _, d := range x.deps[m] {
			fmt.Fprintf(&b, " %s", shippedPath(d))
		}
		b.WriteByte('\n')
	}
	return b.Bytes()
}

// filterLines keeps the lines whose field number n (from the left; -1 is the last) names a module in the image.
func filterLines(data []byte, n int, modules []string) ([]byte, error) {
	names := make(map[string]bool, len(modules))
	for _, m := range modules {
		names[fold(moduleName(m))] = true
	}
	var b bytes.Buffer
	err := eachLine(data, func(line string) error {
		f := strings.Fields(line)
		i := n
		if i < 0 {
			i += len(f)
		}
		if i < len(f) && names[fold(f[i])] {
			b.WriteString(line)
			b.WriteByte('\n')
		}
		return nil
	})
	return b.Bytes(), err
}
