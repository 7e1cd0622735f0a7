package main

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"sanstick/appliance/update"
	"sanstick/imagebuild/image"
	"sanstick/imagebuild/progress"
)

const keygenHelp = `imagebuild keygen makes the pair of keys for updates.

It writes keys/update.key, which signs updates and is to be kept secret and safe, and keys/update.pub, which goes into
every image that is built from then on. An appliance takes only updates that are signed with the key of its image; without
the secret key, its stick has to be written again. Existing keys are never overwritten.

  go run ./imagebuild keygen
  go run ./imagebuild keygen -o ~/keys/attic        writes ~/keys/attic.key and ~/keys/attic.pub
`

const bundleHelp = `imagebuild bundle makes the file with which "sanctl update" brings this version to an appliance.

It builds kernel and initramfs as "imagebuild build" does and puts them into build/sanstick.update, signed if there is a
secret key (see keygen). The configuration is none of it: appliances keep theirs. For an image that was built with --add,
--modules or --firmware give them here as well, else the update does without.

  go run ./imagebuild bundle                         build/sanstick.update, signed with keys/update.key if that is there
  go run ./imagebuild bundle --key ~/keys/attic.key

Then, on the appliance, sanctl update FILE, or sanctl update URL.
`

const signHelp = `imagebuild sign signs an update that "imagebuild bundle" made, where it is.

What is in it is checked first. Sign where the secret key is; that needs no source tree and no network.

  go run ./imagebuild sign                           build/sanstick.update, with keys/update.key
  go run ./imagebuild sign --key attic.key --bundle attic.update
`

// Where keys are looked for, below the source tree.
const (
	secretKey = "keys/update.key"
	publicKey = "keys/update.pub"
)

// keygen implements the verb.
func keygen(_ context.Context, args []string) error {
	set := flag.NewFlagSet("keygen", flag.ContinueOnError)
	out := set.String("o", "", "write `NAME`.key and NAME.pub (default keys/update in the source tree)")
	if err := parse(set, keygenHelp, args); err != nil {
		return err
	}
	if *out == "" {
		source, err := image.FindSource(".")
		if err != nil {
			return err
		}
		*out = filepath.Join(source, "keys", "update")
	}
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return fmt.Errorf("cannot make a key: %w", err)
	}
	private, public, err := update.EncodeKey(key)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(*out), 0o755); err != nil {
		return fmt.Errorf("cannot write the keys: %w", err)
	}
	if _, err := os.Stat(*out + ".pub"); err == nil {
		return fmt.Errorf("cannot write the keys: %s.pub is there; appliances may need what belongs to it", *out)
	}
	if err := create(*out+".key", private, 0o600); err != nil {
		return err
	}
	if err := create(*out+".pub", public, 0o644); err != nil {
		return err
	}
	fmt.Printf("%s.key   signs updates: keep it secret, and keep a copy\n%s.pub   goes into images\n", *out, *out)
	return nil
}

// create writes a file that isn't there yet.
func create(path string, data []byte, mode fs.FileMode) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
	if err != nil {
		return fmt.Errorf("cannot write the keys: %w", err)
	}
	_, err = f.Write(data)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("cannot write the keys: %w", err)
	}
	return nil
}

// bundle implements the verb.
func bundle(ctx context.Context, args []string) error {
	set := flag.NewFlagSet("bundle", flag.ContinueOnError)
	out := set.String("o", "", "write the update to `FILE` (default build/sanstick.update in the source tree)")
	key := set.String("key", "", "sign it with the secret key in `FILE` (default keys/update.key, if that is there)")
	public := set.String("update-key", "", "the `FILE` with the public key for the updates after this one (default keys/update.pub, if that is there)")
	newer := set.Bool("update", false, "ask the package archive for newer packages")
	var custom image.Custom
	customFlags(set, &custom)
	if err := parse(set, bundleHelp, args); err != nil {
		return err
	}
	source, err := image.FindSource(".")
	if err != nil {
		return err
	}
	dir := filepath.Join(source, "build")
	if *out == "" {
		*out = filepath.Join(dir, "sanstick.update")
	}
	o := image.Options{Source: source, BuildDir: dir, Out: *out, Update: *newer, Custom: custom, Log: progress.New(os.Stdout)}
	if o.UpdateKeys, err = readKeys(source, *public); err != nil {
		return err
	}
	m, err := image.Bundle(ctx, o)
	if err != nil {
		return err
	}
	signedBy := "nobody: sign it with imagebuild sign"
	if *key == "" {
		*key = filepath.Join(source, secretKey)
		if _, err := os.Stat(*key); errors.Is(err, fs.ErrNotExist) {
			*key = ""
		}
	}
	if *key != "" {
		if m, err = signFile(*out, *key); err != nil {
			return err
		}
		signedBy = *key
	}
	fmt.Printf("\nupdate     %s\nversion    %s\nsize       %.1f MB\nsigned by  %s\n", *out, m.Version, float64(m.Size())/1e6, signedBy)
	return nil
}

// sign implements the verb.
func sign(_ context.Context, args []string) error {
	set := flag.NewFlagSet("sign", flag.ContinueOnError)
	file := set.String("bundle", "build/sanstick.update", "the update: a `FILE`")
	key := set.String("key", secretKey, "the secret key: a `FILE`")
	if err := parse(set, signHelp, args); err != nil {
		return err
	}
	m, err := signFile(*file, *key)
	if err != nil {
		return err
	}
	fmt.Printf("%s is signed: version %s of %s\n", *file, m.Version, m.Time.Format("2006-01-02 15:04"))
	return nil
}

func signFile(path, keyFile string) (update.Manifest, error) {
	text, err := os.ReadFile(keyFile)
	if err != nil {
		return update.Manifest{}, fmt.Errorf("cannot read the secret key: %w", err)
	}
	key, err := update.DecodePrivateKey(text)
	if err != nil {
		return update.Manifest{}, fmt.Errorf("cannot use %s: %w", keyFile, err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return update.Manifest{}, fmt.Errorf("cannot sign the update: %w", err)
	}
	m, err := update.Sign(f, key)
	return m, errors.Join(err, f.Sync(), f.Close())
}

// readKeys reads the public keys that go into an image. There are none unless
// there is a file.
func readKeys(source, file string) ([]byte, error) {
	if file == "" {
		file = filepath.Join(source, publicKey)
		if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
	}
	text, err := os.ReadFile(file)
	if err == nil {
		_, err = update.DecodePublicKeys(text)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot use the public key for updates, %s: %w", file, err)
	}
	return text, nil
}
