// Makes Go's own tests of its package net tests of netlite: takes those whose
// code compiles with the package in ../net, which is what Go's looks like from
// outside, in the place of Go's.
//
//	go run adapt.go DIRECTORY
//
// DIRECTORY holds a copy of ../net; Go's tests are added to it, each without
// the declarations that need more than the public face of net. Tells which
// tests there are: "kept NAME" or "left NAME: why".
//
// SPDX-License-Identifier: MIT
package main

import (
	"fmt"
	"go/ast"
	"go/build"
	"go/format"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"os"
	"path/filepath"
	"strings"
)

var (
	positions = token.NewFileSet()
	why       = map[string]string{} // of the tests that are left out
)

// A test with a hook in Go's own system calls would prove nothing of netlite.
type withoutHooks struct{ types.ImporterFrom }

func (i withoutHooks) ImportFrom(path, from string, mode types.ImportMode) (*types.Package, error) {
	if path == "net/internal/socktest" {
		return nil, fmt.Errorf("hooks in Go's own system calls")
	}
	return i.ImporterFrom.ImportFrom(path, from, mode)
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "adapt:", err)
		os.Exit(1)
	}
}

// parsed reads the directory's files of our system, those in this package.
func parsed(directory, pattern, pkg string) (files []*ast.File) {
	paths, err := filepath.Glob(filepath.Join(directory, pattern))
	must(err)
	for _, path := range paths {
		fits, err := build.Default.MatchFile(directory, filepath.Base(path))
		must(err)
		if !fits {
			continue
		}
		file, err := parser.ParseFile(positions, path, nil, parser.ParseComments)
		must(err)
		if file.Name.Name == pkg {
			files = append(files, file)
		}
	}
	return files
}

// errors are those of the compiler, by where they are.
func errors(pkg string, files []*ast.File, known types.Importer) (found []types.Error) {
	config := types.Config{
		Importer:    known,
		FakeImportC: true,
		Error: func(err error) {
			// What begins with a tab explains the error before it.
			if err := err.(types.Error); !strings.HasPrefix(err.Msg, "\t") {
				found = append(found, err)
			}
		},
	}
	config.Check(pkg, positions, files, nil)
	return found
}

// without is the declaration without what has errors, and nil without it all.
func without(declaration ast.Decl, wrong func(ast.Node) (string, bool)) ast.Decl {
	switch d := declaration.(type) {
	case *ast.FuncDecl:
		if because, is := wrong(d); is {
			if why[d.Name.Name] == "" {
				why[d.Name.Name] = because
			}
			return nil
		}
	case *ast.GenDecl:
		var specs []ast.Spec
		for _, spec := range d.Specs {
			if _, is := wrong(spec); !is {
				specs = append(specs, spec)
			}
		}
		if len(specs) == 0 {
			return nil
		}
		d.Specs = specs
	}
	return declaration
}

// prune takes the declarations with errors out of a file.
func prune(file *ast.File, errors []types.Error) {
	wrong := func(node ast.Node) (string, bool) {
		for _, err := range errors {
			if node.Pos() <= err.Pos && err.Pos < node.End() {
				return err.Msg, true
			}
		}
		return "", false
	}
	var kept []ast.Decl
	for _, each := range file.Decls {
		if each = without(each, wrong); each != nil {
			kept = append(kept, each)
		}
	}
	file.Decls = kept
}

// within are those of the errors that lie in one of the files.
func within(files []*ast.File, errors []types.Error) (found []types.Error) {
	for _, err := range errors {
		for _, file := range files {
			if file.Package <= err.Pos && err.Pos < file.End() {
				found = append(found, err)
			}
		}
	}
	return found
}

// adapt takes out of Go's files what does not compile with ours, until all
// does: what is left out takes with it what needs it.
func adapt(pkg string, ours, gos []*ast.File, known types.Importer) {
	for {
		found := errors(pkg, append(append([]*ast.File{}, ours...), gos...), known)
		theirs := within(gos, found)
		for _, file := range gos {
			prune(file, theirs)
		}
		if len(theirs) == 0 {
			if len(found) > 0 {
				must(found[0])
			}
			return
		}
	}
}

func isTest(declaration ast.Decl) (name string, is bool) {
	f, is := declaration.(*ast.FuncDecl)
	if !is || f.Recv != nil || !strings.HasPrefix(f.Name.Name, "Test") {
		return "", false
	}
	return f.Name.Name, f.Name.Name != "TestMain"
}

func tests(files []*ast.File) (names []string) {
	for _, file := range files {
		for _, each := range file.Decls {
			if name, is := isTest(each); is {
				names = append(names, name)
			}
		}
	}
	return names
}

func write(directory string, files []*ast.File) {
	for _, file := range files {
		name := filepath.Base(positions.Position(file.Pos()).Filename)
		to, err := os.Create(filepath.Join(directory, "go_"+name))
		must(err)
		must(format.Node(to, positions, file))
		must(to.Close())
	}
}

func main() {
	to := os.Args[1]
	from := filepath.Join(build.Default.GOROOT, "src", "net")
	build.Default.CgoEnabled = false // for what is imported
	source := importer.ForCompiler(positions, "source", nil)
	known := withoutHooks{source.(types.ImporterFrom)}
	build.Default.CgoEnabled = true
	ours := parsed(to, "*.go", "net")
	gos := parsed(from, "*_test.go", "net")
	all := tests(gos)
	adapt("netlite", ours, gos, known)
	write(to, gos)
	kept := map[string]bool{}
	for _, name := range tests(gos) {
		kept[name] = true
	}
	for _, name := range all {
		if kept[name] {
			fmt.Println("kept", name)
		} else {
			fmt.Printf("left %s: %s\n", name, why[name])
		}
	}
}
