// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

// Value that reaches an address without a transaction to it. Tests only.

/// @notice Pays from inside: plainly, in a call that is undone, and by its own end.
contract InnerPayments {
    function pay(address payable to) external payable {
        (bool done,) = to.call{value: msg.value}("");
        require(done, "not taken");
    }

    /// @notice The transaction succeeds; the payment inside it is undone.
    function payAndUndo(address payable to) external payable {
        try this.payAndFail{value: msg.value}(to) {} catch {}
    }

    function payAndFail(address payable to) external payable {
        (bool done,) = to.call{value: msg.value}("");
        require(!done, "undone");
    }

    function payByEnding(address payable to) external payable {
        new Ending{value: msg.value}(to);
    }
}

/// @notice Ends while it is made; its coins go to `to` without a call.
contract Ending {
    constructor(address payable to) payable {
        selfdestruct(to);
    }
}
