package cgroups

import (
	"os/exec"
	"runtime"
	"syscall"
	"testing"
	"time"
	"fmt"

	"golang.org/x/sys/unix"
)

func TestZZ(t *testing.T) {
	facts := needRoot(t)
	p := testPlan(t, facts, "")
	for range 12 {
		t0 := time.Now()
		g, err := Create(p)
		if err != nil { t.Fatal(err) }
		t1 := time.Now()
		cmd := exec.Command("sleep", "100")
		cmd.Start()
		t2 := time.Now()
		g.Add(cmd.Process.Pid)
		t3 := time.Now()
		g.Kill()
		cmd.Wait()
		t4 := time.Now()
		g.Undo()
		t5 := time.Now()
		fmt.Println("create", t1.Sub(t0), "start", t2.Sub(t1), "add", t3.Sub(t2), "kill", t4.Sub(t3), "undo", t5.Sub(t4))
		time.Sleep(100*time.Millisecond)
	}
	for range 12 {
		g, err := Create(p)
		if err != nil { t.Fatal(err) }
		done := make(chan struct{})
		var cmd *exec.Cmd
		go func() {
			runtime.LockOSThread()
			t0 := time.Now()
			for _, d := range g.dirs {
				if d.V2 { continue }
				if err := writeFile(d.Path, "tasks", "0"); err != nil { fmt.Println(d.Path, err, unix.Gettid(), unix.Getpid()) }
			}
			t1 := time.Now()
			cmd = exec.Command("sleep", "100")
			fd, _ := g.FD()
			cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(fd.Fd())}
			if err := cmd.Start(); err != nil { fmt.Println(err) }
			t2 := time.Now()
			fmt.Println("self", t1.Sub(t0), "start", t2.Sub(t1))
			close(done)
		}()
		<-done
		time.Sleep(time.Millisecond)
		for _, d := range g.dirs { ps, _ := readPids(d.Path); if len(ps) != 1 || ps[0] != cmd.Process.Pid { fmt.Println(d.Path, ps, cmd.Process.Pid) } }
		t3 := time.Now()
		g.Kill()
		cmd.Wait()
		t4 := time.Now()
		g.Undo()
		t5 := time.Now()
		fmt.Println("kill", t4.Sub(t3), "undo", t5.Sub(t4))
		time.Sleep(100*time.Millisecond)
	}
}
