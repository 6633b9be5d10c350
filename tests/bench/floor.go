package main

import (
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

//go:embed floor.c
var floorSource []byte

// buildFloor compiles the floor into dir and returns the binary's path.
// It needs gcc and the C library's static archive.
func buildFloor(dir string) (string, error) {
	src, bin := filepath.Join(dir, "floor.c"), filepath.Join(dir, "floor")
	if err := os.WriteFile(src, floorSource, 0o600); err != nil {
		return "", err
	}
	gcc := exec.Command("gcc", "-O2", "-Wall", "-Wextra", "-Werror", "-static", "-o", bin, src)
	if out, err := gcc.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the floor: %w\n%s", err, out)
	}
	return bin, nil
}
