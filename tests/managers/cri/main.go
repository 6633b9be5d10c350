// Command cri talks to a container runtime interface, for tests: what crictl does that Debian does not have.
//
//	cri pod NAME [JSON [HANDLER]]        runs a pod; JSON is merged into its PodSandboxConfig. Prints its id
//	cri create POD NAME JSON COMMAND…    creates a container from the image "box"; JSON is merged into its ContainerConfig
//	cri run POD NAME JSON COMMAND…       and starts it
//	cri exec CONTAINER COMMAND…          ExecSync: output, and its exit status
//	cri stream CONTAINER COMMAND…        Exec through the streaming server, with standard input
//	cri terminal CONTAINER COMMAND…      the same in a terminal
//	cri attach CONTAINER                 Attach through the streaming server, with standard input
//	cri forward POD PORT                 PortForward: standard input there, what comes back to standard output
//	cri call METHOD [JSON [FIELD…]]      any method of the RuntimeService; prints the response, or one field of it
package main

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/websocket"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

const (
	socket   = "unix:///run/containerd/containerd.sock"
	image    = "docker.io/library/box:latest"
	patience = time.Minute
)

func main() {
	code, err := run(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "cri:", err)
		code = 1
	}
	os.Exit(code)
}

// client is one connection.
type client struct {
	cri.RuntimeServiceClient
	ctx context.Context
}

func run(args []string) (code int, err error) {
	conn, err := grpc.Dial(socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return 1, err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c := client{cri.NewRuntimeServiceClient(conn), ctx}
	args = append(args, make([]string, max(0, 4-len(args)))...) // words left out are empty
	switch args[0] {
	case "pod":
		return 0, c.pod(args[1], args[2], args[3])
	case "create", "run":
		return 0, c.create(args[1], args[2], args[3], args[4:], args[0] == "run")
	case "exec":
		return c.execSync(args[1], words(args[2:]))
	case "stream", "terminal":
		r, err := c.Exec(ctx, &cri.ExecRequest{ContainerId: args[1], Cmd: words(args[2:]), Stdin: true, Stdout: true, Stderr: args[0] == "stream", Tty: args[0] == "terminal"})
		if err != nil {
			return 1, err
		}
		return stream(r.Url)
	case "attach":
		r, err := c.Attach(ctx, &cri.AttachRequest{ContainerId: args[1], Stdin: true, Stdout: true, Stderr: true})
		if err != nil {
			return 1, err
		}
		return stream(r.Url)
	case "forward":
		return 0, c.forward(args[1], args[2])
	case "call":
		return 0, c.call(args[1], args[2], words(args[3:]))
	}
	return 1, fmt.Errorf("unknown command %q", args[0])
}

func words(args []string) []string {
	for len(args) > 0 && args[len(args)-1] == "" {
		args = args[:len(args)-1]
	}
	return args
}

// podFile is where a pod's config is kept for its containers, which the interface wants to see again.
func podFile(id string) string { return "/run/cri." + id }

func (c client) pod(name, extra, handler string) error {
	logs := "/run/cri-logs/" + name
	config := &cri.PodSandboxConfig{
		Metadata:     &cri.PodSandboxMetadata{Name: name, Uid: name, Namespace: "default"},
		LogDirectory: logs, Hostname: name,
		Linux: &cri.LinuxPodSandboxConfig{
			CgroupParent:    "/kubepods/" + name,
			SecurityContext: &cri.LinuxSandboxSecurityContext{NamespaceOptions: ownPIDs()},
		},
	}
	if err := merge(extra, config); err != nil {
		return err
	}
	if err := os.MkdirAll(logs, 0o755); err != nil {
		return err
	}
	r, err := c.RunPodSandbox(c.ctx, &cri.RunPodSandboxRequest{Config: config, RuntimeHandler: handler})
	if err != nil {
		return err
	}
	raw, err := json.Marshal(config)
	if err != nil {
		return err
	}
	fmt.Println(r.PodSandboxId)
	return os.WriteFile(podFile(r.PodSandboxId), raw, 0o644)
}

func (c client) create(pod, name, extra string, command []string, start bool) error {
	sandbox := new(cri.PodSandboxConfig)
	raw, err := os.ReadFile(podFile(pod))
	if err == nil {
		err = json.Unmarshal(raw, sandbox)
	}
	config := &cri.ContainerConfig{
		Metadata: &cri.ContainerMetadata{Name: name}, Image: &cri.ImageSpec{Image: image},
		Command: command, LogPath: name + ".log",
		Linux: &cri.LinuxContainerConfig{SecurityContext: &cri.LinuxContainerSecurityContext{NamespaceOptions: ownPIDs()}},
	}
	if err == nil {
		err = merge(extra, config)
	}
	if err != nil {
		return err
	}
	r, err := c.CreateContainer(c.ctx, &cri.CreateContainerRequest{PodSandboxId: pod, Config: config, SandboxConfig: sandbox})
	if err != nil {
		return err
	}
	fmt.Println(r.ContainerId)
	if start {
		_, err = c.StartContainer(c.ctx, &cri.StartContainerRequest{ContainerId: r.ContainerId})
	}
	return err
}

// ownPIDs is what a kubelet asks for unless a pod says otherwise: processes for each container, all else for the pod.
func ownPIDs() *cri.NamespaceOption {
	return &cri.NamespaceOption{Pid: cri.NamespaceMode_CONTAINER}
}

func merge(extra string, config any) error {
	if extra == "" {
		return nil
	}
	return json.Unmarshal([]byte(extra), config)
}

func (c client) execSync(container string, command []string) (int, error) {
	r, err := c.ExecSync(c.ctx, &cri.ExecSyncRequest{ContainerId: container, Cmd: command, Timeout: int64(patience.Seconds())})
	if err != nil {
		return 1, err
	}
	os.Stdout.Write(r.Stdout)
	os.Stderr.Write(r.Stderr)
	return int(r.ExitCode), nil
}

// call calls any method by its name; its request is read from JSON.
func (c client) call(name, request string, fields []string) error {
	method := reflect.ValueOf(c.RuntimeServiceClient).MethodByName(name)
	if !method.IsValid() {
		return fmt.Errorf("no method %q", name)
	}
	in := reflect.New(method.Type().In(1).Elem())
	if err := merge(request, in.Interface()); err != nil {
		return err
	}
	out := method.Call([]reflect.Value{reflect.ValueOf(c.ctx), in})
	if err, _ := out[1].Interface().(error); err != nil {
		return err
	}
	raw, err := json.Marshal(out[0].Interface())
	if err != nil {
		return err
	}
	var value any
	if err := json.Unmarshal(raw, &value); err != nil {
		return err
	}
	for _, field := range fields {
		switch v := value.(type) {
		case map[string]any:
			value = v[field]
		case []any:
			i, err := strconv.Atoi(field)
			if err != nil || i >= len(v) {
				return fmt.Errorf("no field %s in %s", field, raw)
			}
			value = v[i]
		}
	}
	switch value.(type) {
	case string, float64, bool, nil:
		fmt.Println(value)
	default:
		return json.NewEncoder(os.Stdout).Encode(value)
	}
	return nil
}

// Channels of the streaming protocol: the first byte of every message.
const (
	channelIn, channelOut, channelErr, channelStatus = 0, 1, 2, 3
)

func dial(url string) (*websocket.Conn, error) {
	return websocket.Dial(strings.Replace(url, "http", "ws", 1), "v4.channel.k8s.io", "http://localhost")
}

// stream carries standard input there and both outputs here, and returns the exit status.
func stream(url string) (int, error) {
	conn, err := dial(url)
	if err != nil {
		return 1, err
	}
	go io.Copy(channel{conn, channelIn}, os.Stdin)
	for {
		var message []byte
		if err := websocket.Message.Receive(conn, &message); err != nil {
			if errors.Is(err, io.EOF) {
				return 0, nil
			}
			return 1, err
		}
		if len(message) < 2 {
			continue
		}
		switch data := message[1:]; message[0] {
		case channelOut:
			os.Stdout.Write(data)
		case channelErr:
			os.Stderr.Write(data)
		case channelStatus:
			return status(data)
		}
	}
}

// status reads what Kubernetes says of a command that ended.
func status(raw []byte) (int, error) {
	var s struct {
		Status, Message string
		Details         struct {
			Causes []struct{ Reason, Message string }
		}
	}
	if err := json.Unmarshal(raw, &s); err != nil || s.Status == "Success" {
		return 0, err
	}
	for _, cause := range s.Details.Causes {
		if cause.Reason == "ExitCode" {
			return strconv.Atoi(cause.Message)
		}
	}
	return 1, errors.New(s.Message)
}

type channel struct {
	*websocket.Conn
	number byte
}

func (c channel) Write(p []byte) (int, error) {
	return len(p), websocket.Message.Send(c.Conn, append([]byte{c.number}, p...))
}

func (c client) forward(pod, port string) error {
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return err
	}
	r, err := c.PortForward(c.ctx, &cri.PortForwardRequest{PodSandboxId: pod, Port: []int32{int32(number)}})
	if err != nil {
		return err
	}
	conn, err := dial(r.Url + "?port=" + port)
	if err != nil {
		return err
	}
	go io.Copy(channel{conn, 0}, os.Stdin)
	for announced := map[byte]bool{}; ; {
		var message []byte
		if err := websocket.Message.Receive(conn, &message); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		switch number, data := message[0], message[1:]; {
		case !announced[number]: // each of the two channels begins with the port
			announced[number] = len(data) == 2 && binary.LittleEndian.Uint16(data) != 0
		case number == 1:
			return errors.New(string(data))
		default:
			os.Stdout.Write(data)
		}
	}
}
