package esp

import (
	_ "embed"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

//go:embed grub.cfg
var grubConfig string

// Boot says how GRUB starts the kernel. The zero value: on screen and first serial port at once.
type Boot struct {
	Consoles []string // "tty0", "ttyS1" or "ttyS1,9600"; the last one is the kernel's /dev/console
	Args     string   // for the end of the kernel's command line
}

// The speed of a serial port unless it is said, and the ports that GRUB and the kernel number alike.
const (
	defaultSpeed = "115200"
	serialPorts  = 4
)

// maxArgs bounds Args. The kernel takes 2047 bytes in all.
const maxArgs = 1024

// kernelArgs are on the command line anyway, or are for this package to say.
var kernelArgs = map[string]string{
	"console": "give it as --console",
	"slot":    "it is for the boot loader to say", "mode": "it is for the boot loader to say",
	"media": "it is for the boot loader to say", "panic": "it is for the boot loader to say", "--": "nothing behind it would reach the kernel",
}

// Check refuses what GRUB or the kernel wouldn't take as it is meant.
func (b Boot) Check() error {
	if _, err := b.consoles(); err != nil {
		return err
	}
	if len(b.Args) > maxArgs {
		return fmt.Errorf("cannot use a command line of %d bytes: at most %d", len(b.Args), maxArgs)
	}
	for i, r := range b.Args {
		if !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune(" -_.,:=/@%+~", r)) {
			return fmt.Errorf("cannot use the command line: GRUB would take %q in %q for something else; letters, digits and -_.,:=/@%%+~ are fine",
				r, b.Args[max(0, i-12):])
		}
	}
	for _, w := range strings.Fields(b.Args) {
		name, _, _ := strings.Cut(w, "=")
		if why, ours := kernelArgs[name]; ours {
			return fmt.Errorf("cannot put %q on the command line: %s", w, why)
		}
	}
	return nil
}

// console is one of the consoles. The screen has no port.
type console struct {
	name  string
	port  int // of ttyS
	speed string
}

func (b Boot) consoles() ([]console, error) {
	if len(b.Consoles) == 0 {
		return []console{{name: "tty0", port: -1}, {name: "ttyS0", speed: defaultSpeed}}, nil
	}
	var out []console
	for _, text := range b.Consoles {
		c, err := parseConsole(text)
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(out, func(o console) bool { return o.name == c.name }) {
			return nil, fmt.Errorf("cannot use console %q: %s is there already", text, c.name)
		}
		out = append(out, c)
	}
	return out, nil
}

func parseConsole(text string) (console, error) {
	name, speed, hasSpeed := strings.Cut(text, ",")
	c := console{name: name, port: -1, speed: speed}
	if !hasSpeed {
		c.speed = defaultSpeed
	}
	if name == "tty0" && !hasSpeed {
		return c, nil
	}
	number, serial := strings.CutPrefix(name, "ttyS")
	port, err := strconv.Atoi(number)
	if !serial || err != nil || port < 0 || port >= serialPorts || number != strconv.Itoa(port) {
		return c, fmt.Errorf("cannot use console %q: want tty0, which is the screen, or ttyS0 to ttyS%d, with a speed behind a comma if it isn't %s",
			text, serialPorts-1, defaultSpeed)
	}
	if c.port = port; !slices.Contains([]string{"9600", "19200", "38400", "57600", "115200"}, c.speed) {
		return c, fmt.Errorf("cannot use console %q: the speed is 9600, 19200, 38400, 57600 or 115200", text)
	}
	return c, nil
}

// args is the kernel's command line, but for what GRUB adds.
func args(all []console, more string) string {
	var words []string
	for _, c := range all {
		w := "console=" + c.name
		if c.port >= 0 {
			w += "," + c.speed
		}
		words = append(words, w)
	}
	// Nothing here uses the kernel's cryptography: testing all of it takes time at each start, and has hung under emulation.
	return strings.Join(append(append(words, "quiet", "cryptomgr.notests"), strings.Fields(more)...), " ")
}

// terminal has GRUB use the same consoles. It can use one serial port: the last one named.
func terminal(all []console) string {
	var serial string
	var use []string
	for _, c := range all {
		if c.port < 0 {
			use = append(use, "console")
		} else {
			serial = fmt.Sprintf("serial --unit=%d --speed=%s\n", c.port, c.speed)
		}
	}
	if serial != "" {
		use = append(use, "serial")
	}
	names := strings.Join(use, " ")
	return serial + "terminal_input " + names + "\nterminal_output " + names
}

// config is GRUB's configuration. b has been checked.
func (b Boot) config() []byte {
	all, _ := b.consoles()
	return []byte(strings.NewReplacer("@TERMINAL@", terminal(all), "@ARGS@", args(all, b.Args)).Replace(grubConfig))
}
