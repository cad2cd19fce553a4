// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";

// What a payout or a sweep may meet. Tests only.

/// @notice Keeps one percent, at least one unit, of every transfer.
contract FeeToken is ERC20 {
    constructor(uint256 supply) ERC20("Fee", "FEE") {
        _mint(msg.sender, supply);
    }

    function _update(address from, address to, uint256 value) internal override {
        if (from == address(0) || value == 0) return super._update(from, to, value);
        uint256 fee = value / 100 + 1;
        super._update(from, address(0xFEE), fee);
        super._update(from, to, value - fee);
    }
}

/// @notice When it is paid it makes one call of its own, and fails unless that call succeeds.
contract Reenterer {
    address public target;
    bytes public wish;
    uint256 public value;

    function aim(address target_, bytes calldata wish_, uint256 value_) external {
        (target, wish, value) = (target_, wish_, value_);
    }

    receive() external payable {
        if (target == address(0)) return;
        (bool done,) = target.call{value: value}(wish);
        require(done, "refused");
    }
}
