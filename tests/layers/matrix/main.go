// Command matrix runs the cases of package cases through the tools that are installed and prints who gets which one wrong.
//
//	matrix [-case REGEXP] [-tool REGEXP] [-why]
//
// It needs root. All of it happens in a mount namespace of its own with an empty /tmp, so that what a tool writes to the
// wrong place goes nowhere and nothing stays mounted. It fails if berth-layer gets a case wrong.
package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"syscall"

	"berth/tests/layers/cases"
)

const inside = "_BERTH_MATRIX_INSIDE"

func main() {
	only := flag.String("case", "", "only cases that match the regular `expression`")
	tools := flag.String("tool", "", "only tools that match the regular `expression`")
	why := flag.Bool("why", false, "say of each case that is not ok what is not")
	flag.Parse()
	run := func() error { return compare(*only, *tools, *why) }
	if os.Getenv(inside) == "" {
		run = reexec
	}
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "matrix:", err)
		os.Exit(1)
	}
}

// reexec runs this program once more, in a mount namespace of its own.
func reexec() error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("needs root: devices, owners and mounts are compared")
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	return cmd.Run()
}

const work = "/tmp/work"

// prepare covers what tools write into with empty file systems.
func prepare() error {
	if err := syscall.Mount("none", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("private mounts: %w", err)
	}
	for _, dir := range []string{"/tmp", "/run", "/var/tmp"} {
		if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "mode=1777"); err != nil {
			return fmt.Errorf("tmpfs on %s: %w", dir, err)
		}
	}
	if err := os.Mkdir(work, 0o755); err != nil {
		return err
	}
	syscall.Umask(0o022)
	return prepareDisk()
}

// disk is where a tool works that wants a disk's file system; /tmp is in memory.
const disk = work + "/disk"

func prepareDisk() error {
	image := work + "/ext4"
	script := `truncate -s 4G "$1" && mkfs.ext4 -q "$1" && mkdir "$2" && mount -o loop "$1" "$2"`
	if out, err := exec.Command("sh", "-ec", script, "sh", image, disk).CombinedOutput(); err != nil {
		return fmt.Errorf("an ext4 in a file: %w: %s", err, out)
	}
	return nil
}

func compare(only, toolNames string, why bool) error {
	caseRE, err := regexp.Compile(only)
	if err != nil {
		return err
	}
	toolRE, err := regexp.Compile(toolNames)
	if err != nil {
		return err
	}
	berth, err := filepath.Abs("bin/berth-layer")
	if err != nil {
		return err
	}
	program, err := os.ReadFile(berth) // before an empty /tmp may cover it
	if err != nil && !os.IsNotExist(err) {
		return err
	}
	all, err := cases.All()
	if err != nil {
		return err
	}
	if err := prepare(); err != nil {
		return err
	}
	binary := ""
	if program != nil {
		binary = filepath.Join(filepath.Dir(work), "berth-layer")
		if err := os.WriteFile(binary, program, 0o755); err != nil {
			return err
		}
	}
	t := table{why: why}
	for _, tool := range installed(binary) {
		if toolRE.MatchString(tool.Name()) {
			t.tools = append(t.tools, tool)
		}
	}
	defer syscall.Unmount(disk, syscall.MNT_DETACH)
	defer t.close()
	t.header()
	for i := range all {
		if caseRE.MatchString(all[i].Name) {
			if err := t.row(&all[i]); err != nil {
				return fmt.Errorf("%s: %w", all[i].Name, err)
			}
		}
	}
	return t.summary()
}
